"use strict";
// What pages do beyond their HTML: parts that follow the ledger, suggestions, and nothing that a page needs to work.

const busy = (part) => [...part.querySelectorAll("input, select, textarea")].some((one) => one === document.activeElement || (one.matches("input, textarea") && one.value !== one.defaultValue));

const selecting = (part) => { const chosen = getSelection(); return !chosen.isCollapsed && part.contains(chosen.anchorNode); };

// What has the focus in a part, by where it leads or what it does and for whom: drawn anew, the same thing has the same name.
const nameOf = (one) => one.getAttribute("href") ?? [one.tagName, one.closest("form")?.getAttribute("action"), one.textContent.trim(), one.closest("li, article")?.querySelector(".message, h3, h4")?.textContent.trim()].join("|");

// A part keeps the focus, what is open, what is being typed and what is being selected.
function replacePart(part, html) {
  if (busy(part) || selecting(part)) return;
  const focused = part.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const open = [...part.querySelectorAll("details")].map((one) => one.open);
  const sorted = [...part.querySelectorAll(".scroll table")].map((one) => one.dataset.sorted);
  part.innerHTML = html;
  makeReadable(part, sorted);
  part.querySelectorAll("details").forEach((one, index) => { one.open = open[index] || one.open; });
  if (focused === null) return;
  part.tabIndex = -1; // what had the focus may be gone: then nothing else of the part gets it
  ([...part.querySelectorAll("a, button, summary, [tabindex]")].find((one) => nameOf(one) === focused) ?? part).focus({ preventScroll: true });
}

// The tab says what the verdict says, before the name of the page.
const ofPage = document.title;
const shortOf = (part) => part?.querySelector("[data-short]")?.dataset.short ?? "";
const begun = shortOf(document.getElementById("verdict"));
const named = begun && ofPage.startsWith(begun) ? ofPage.slice(begun.length) : ` · ${ofPage}`;
function entitle(part) { document.title = shortOf(part) + named; }

// A stream that breaks off is opened again: by the browser, or here when the browser has given it up (an answer that is no stream).
function follow(address) {
  const silenceMs = 6000, againMs = 5000, aliveMs = 15000;
  const trouble = document.getElementById("trouble");
  let source = null, silence = 0, again = 0, alive = 0, isOld = false;
  const stop = () => { source?.close(); source = null; [silence, again, alive].forEach(clearTimeout); silence = 0; };
  const now = () => new Date().toISOString().slice(11, 19);
  const heard = () => {
    const since = now();
    document.documentElement.dataset.live = "on";
    if (isOld) { isOld = false; trouble.textContent = ""; }
    clearTimeout(alive);
    alive = setTimeout(() => { document.documentElement.dataset.live = "off"; say(since); stop(); start(); }, aliveMs);
  };
  const say = (since) => {
    isOld = true;
    trouble.textContent = `Nothing new since ${since} UTC: the console does not answer, or you are logged out. What you see may be old; this page tries again by itself.`;
  };
  const start = () => {
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("open", () => { clearTimeout(silence); silence = 0; });
    source.addEventListener("alive", heard);
    source.addEventListener("parts", (event) => {
      heard();
      for (const [id, html] of Object.entries(JSON.parse(event.data))) {
        const part = document.getElementById(id);
        if (part) replacePart(part, html);
        if (id === "verdict") entitle(part);
      }
    });
    source.addEventListener("over", () => { stop(); });
    source.addEventListener("error", () => {
      document.documentElement.dataset.live = "off";
      const since = now();
      silence ||= setTimeout(() => say(since), silenceMs);
      if (source.readyState !== EventSource.CLOSED) return;
      source = null;
      again = setTimeout(start, againMs);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  start();
}

// Suggestions come from the ledger as one types; without them the field is a plain field.
function suggest(input) {
  const list = document.createElement("datalist");
  list.id = `suggestions-${input.id || input.name}`;
  input.after(list);
  input.setAttribute("list", list.id);
  let waiting = 0;
  const ask = async () => {
    const answer = await fetch(`${document.documentElement.dataset.prefix}suggestions?field=${input.dataset.suggest}&beginning=${encodeURIComponent(input.value.trim())}`);
    if (!answer.ok) return;
    list.replaceChildren(...(await answer.json()).items.map((one) => {
      const option = document.createElement("option");
      option.value = one.value;
      if (one.count !== null) option.label = `${one.value} (${one.count})`;
      return option;
    }));
  };
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(() => ask().catch(() => {}), 150); };
  input.addEventListener("input", soon);
  input.addEventListener("focus", soon, { once: true });
}

// A box in a table's head ticks all of its rows.
function tickAll(box) {
  const boxes = () => box.form.querySelectorAll(`input[type=checkbox][name="${box.dataset.all}"]`);
  box.hidden = false;
  box.addEventListener("change", () => { boxes().forEach((one) => { one.checked = box.checked; }); boxes()[0]?.dispatchEvent(new Event("change", { bubbles: true })); });
}

// How many rows are ticked, beside what can be done to them.
function countTicked(said) {
  const form = said.closest("form");
  form.addEventListener("change", () => {
    const count = form.querySelectorAll(`input[name="${said.dataset.count}"]:checked`).length;
    said.hidden = !count;
    said.textContent = `${count} selected`;
  });
}

// A picker closes as menus do: by Escape, or by going elsewhere.
function closePickers(event) {
  for (const open of document.querySelectorAll("details.picker[open]")) {
    if (event.key === "Escape" && open.contains(document.activeElement)) open.querySelector("summary").focus();
    if (event.key === "Escape" || !open.contains(event.target)) open.open = false;
  }
}

document.querySelectorAll("[data-live]").forEach((one) => follow(one.dataset.live));
document.querySelectorAll("[data-suggest]").forEach(suggest);
document.querySelectorAll("[data-all]").forEach(tickAll);
document.querySelectorAll("[data-count]").forEach(countTicked);
document.addEventListener("pointerdown", closePickers);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closePickers(event); });
