"use strict";
// What helps to read a page: local time beside UTC, rows in another order, and keys for those who do not reach for a mouse.

const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(new Date()).find((one) => one.type === "timeZoneName")?.value ?? "local";
const local = (at, day) => new Intl.DateTimeFormat("sv-SE", { hour: "2-digit", minute: "2-digit", second: "2-digit", ...(day && { year: "numeric", month: "2-digit", day: "2-digit" }) }).format(at);

// "UTC" may follow an instant: what stands beside it comes after both, or it would part the two.
function endOf(instant) {
  let next = instant.nextSibling;
  while (next?.nodeType === Node.TEXT_NODE && !next.data.trim()) next = next.nextSibling;
  const words = next?.nodeType === Node.ELEMENT_NODE ? next.firstChild : next;
  const said = words?.nodeType === Node.TEXT_NODE && /^\s*UTC(?!\w)/.exec(words.data);
  if (!said) return null;
  words.splitText(said[0].length);
  return words;
}

// Instants are written in UTC; beside them stands what the clock on this wall says, with the day where it is another one.
function giveLocalTimes(part) {
  for (const one of part.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    if (Number.isNaN(at.valueOf()) || one.dataset.local) continue;
    one.dataset.local = "given";
    one.title = `${local(at, true)} ${zone}; ${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
    if (!at.getTimezoneOffset() || !one.textContent.startsWith(at.toISOString().slice(0, 10))) continue;
    const beside = document.createElement("small");
    beside.className = "local";
    beside.textContent = ` (${local(at, local(at, true).slice(0, 10) !== one.dateTime.slice(0, 10))} ${zone})`;
    const end = endOf(one);
    end ? end.after(beside) : one.append(beside);
  }
}

const keyOf = (cell) => {
  const at = cell?.querySelector("time[datetime]")?.dateTime;
  const said = (at ?? cell?.textContent ?? "").trim();
  const number = Number(said.replace(/[\s,]/g, ""));
  return at || said === "" || Number.isNaN(number) ? said : number;
};

function compare(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}

function sortRows(table, column, direction) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[column]) }));
  const sign = direction === "descending" ? -1 : 1;
  keyed.sort((one, other) => (one.key === "" || other.key === "" ? compare(one.key, other.key) : sign * compare(one.key, other.key)));
  body.append(...keyed.map((one) => one.row));
  [...table.tHead.rows[0].cells].forEach((head, index) => (index === column ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort")));
  table.dataset.sorted = `${column} ${direction}`;
}

// The rows of a list can be put into another order by its heads: those on the page, which its caption says.
function makeSortable(table) {
  if (table.dataset.sortable || !table.tHead || !table.tBodies[0] || table.tBodies[0].rows.length < 2) return;
  table.dataset.sortable = "yes";
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.querySelector("input") || !head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.title = "Sort the rows on this page";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortRows(table, column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"));
  });
}

// Whatever a stream draws anew is made to read like the rest, in the order that somebody chose.
function makeReadable(part, sorted = []) {
  giveLocalTimes(part);
  part.querySelectorAll(".scroll table").forEach((table, index) => {
    makeSortable(table);
    if (sorted[index]) { const [column, direction] = sorted[index].split(" "); sortRows(table, Number(column), direction); }
  });
}

const PAGES = { o: "", i: "instances", d: "dead-letters", r: "jobs", c: "connections", a: "audit", h: "history" };
const KEYS = [["/", "search"], ["?", "these keys"], ["Esc", "close"], ["g then o", "overview"], ["g then i", "instances"], ["g then d", "dead letters"], ["g then r", "requeues"], ["g then c", "connections"], ["g then h", "history"], ["g then a", "audit"]];

function showKeys() {
  let dialog = document.getElementById("keys");
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.id = "keys";
    dialog.setAttribute("aria-label", "Keys");
    const list = document.createElement("dl");
    for (const [key, what] of KEYS) {
      const term = document.createElement("dt"), meaning = document.createElement("dd");
      term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      meaning.textContent = what;
      list.append(term, meaning);
    }
    const close = Object.assign(document.createElement("button"), { textContent: "Close", type: "button" });
    close.addEventListener("click", () => dialog.close());
    dialog.append(Object.assign(document.createElement("h2"), { textContent: "Keys" }), list, close);
    document.body.append(dialog);
  }
  dialog.open ? dialog.close() : dialog.showModal();
}

let goingSince = 0;
function hearKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
  const search = document.getElementById("search");
  const isGoing = event.timeStamp - goingSince < 1500;
  goingSince = 0;
  if (isGoing && search && event.key in PAGES) location.assign(document.documentElement.dataset.prefix + PAGES[event.key]);
  else if (event.key === "g") goingSince = event.timeStamp;
  else if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
  else if (event.key === "?") showKeys();
}

makeReadable(document);
document.addEventListener("keydown", hearKey);
