"""The scene `drift`: both sides differ in every way there is, and members are refused for every kind of reason.

All of it is found, with its cause, and repaired, or shown to whom it concerns: nothing is corrected behind their backs.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from rich.table import Table

from deploy.local.demo_run import DemoRun, NotSettledError, Record, Scene, console, counted, event
from deploy.local.stack import say
from shared.fields import labels
from shared.pipeline import spoken

EACH = 2
"""Members of each class."""
_CLASSES = (
    *("never_sent", "missed_event", "changed_at_destination", "rolled_back", "gone_at_destination", "orphan"),
    *("status_lies", "ledger_behind"),
)
_SHOWN_ONLY = frozenset({"gone_at_destination", "orphan"})
"""What no repair touches: it may be a lawful erasure, or somebody else's member."""
_HOUR_S = 3600
_WITHIN_S = 120.0
_CASES_WITHIN_S = 30.0
_OVER = frozenset({"done", "failed", "stopped"})
_SETTLE_S = 1.0


def drift() -> Scene:
    """Plant differences of every class and cases of every kind; have them found, explained and repaired."""
    return Scene(
        about=(
            "Siebel and CrowdTwist come to differ in every way there is, behind our back. A reconciliation finds each "
            "difference\nwith its cause, by two looks and nothing else; a repair goes by its plan; what a person must "
            "decide is shown to a person."
        ),
        act=act,
        changes={"reconcile": {"share": 1.0, "settle_s": _SETTLE_S, "every_h": 0.0}},
    )


@dataclass(slots=True)
class Programme:
    """The members of the scene by what is planted with them, and the newest version of each that was sent."""

    run: DemoRun
    of: dict[str, list[str]] = field(default_factory=dict)

    def sync(self) -> None:
        """Bring members of every class, and some that stay as they are, in sync everywhere."""
        self.of = {name: [f"{name.upper()}-{place}" for place in range(EACH)] for name in (*_CLASSES, "fine")}
        synced = [number for name, some in self.of.items() if name != "never_sent" for number in some]
        self.run.send(*map(event, synced))
        self.in_siebel(synced)
        self.run.until(self.run.is_settled, "in sync")

    def in_siebel(self, numbers: Iterable[str], version: int = 0) -> None:
        """Let Siebel have these members, as their event of *version* says."""
        self.run.control.seed(*(_row(number, version) for number in numbers))

    def plant(self) -> None:
        """Let every class come into being."""
        control, now = self.run.control, int(time.time())
        self.in_siebel(self.of["never_sent"])
        self.in_siebel(self.of["missed_event"], version=1)
        self.in_siebel(self.of["ledger_behind"], version=1)
        for number in (*self.of["changed_at_destination"], *self.of["ledger_behind"]):
            is_behind = number in self.of["ledger_behind"]
            name = event(number, 1)["member"]["last_name"] if is_behind else "Changed by an agent"
            control.plant({"third_party_id": number, "last_name": name, "date_last_updated": now})
        for number in self.of["rolled_back"]:
            older = {"last_name": "Version before", "date_last_updated": now - _HOUR_S}
            control.plant({"third_party_id": number, **older})
        for number in self.of["gone_at_destination"]:
            self.run.erase(number)
        control.remove(*self.of["orphan"])
        control.seed(
            *(
                {"member_number": number, "row_id": f"1-{number}", "CT Sync Status": "Data Error"}
                for number in self.of["status_lies"]
            )
        )

    @property
    def expected(self) -> dict[str, list[str]]:
        """The members of each class."""
        return {name: sorted(self.of[name]) for name in _CLASSES}


def act(run: DemoRun) -> None:
    """Play it."""
    run.control.set("siebel", auto_members=False)  # whoever is asked for would come into being
    programme = Programme(run)
    say(f"1. {EACH * len(_CLASSES)} members come in sync, and {EACH} more that stay so")
    programme.sync()
    first = _reconciled(run)
    run.promise("a first reconciliation finds no difference", _found(first))
    say("2. behind our back, both sides are changed in every way there is")
    programme.plant()
    second = _reconciled(run)
    _show(run, second)
    _check(run, programme, second)
    _repair(run, programme, second)
    _desk(run)


def _reconciled(run: DemoRun) -> Record:
    """Have everybody compared, and follow it; return the run when it is over."""
    made: Record = run.api.post("/v1/reconciliations", json={"full": True}).raise_for_status().json()

    def is_over() -> bool:
        made.update(run.read(f"/v1/reconciliations/{made['id']}"))
        return made["state"] in _OVER

    run.until(is_over, "the reconciliation to end", within_s=_WITHIN_S)
    say(f"   run {made['id']}: {made['state']}; {made['meaning'] or made['why']}")
    say(f"   {run.api.base_url}/reconciliations/{made['id']} shows it")
    return made


def _differences(run: DemoRun, of: Record) -> list[Record]:
    return list(run.read(f"/v1/reconciliations/{of['id']}/differences", [("limit", 1000)])["items"])


def _found(of: Record) -> list[str]:
    """Return what a run found, in words; where it is not done, that."""
    if of["state"] != "done":
        return [f"{of['state']}: {of['why']}"]
    return [f"{count} {spoken(name)}" for name, count in of["differences"].items() if count]


def _show(run: DemoRun, of: Record) -> None:
    table = Table(title="What differs, and why", title_justify="left")
    for heading in ("member", "class", "field", "Siebel", "CrowdTwist", "ledger", "evidence"):
        table.add_column(heading)
    seen: set[str] = set()
    for one in _differences(run, of):
        if one["class"] not in seen:
            seen.add(one["class"])
            values = (one[name] for name in ("field", "siebel", "crowdtwist", "ledger"))
            shown = ("" if value is None else str(value) for value in values)
            table.add_row(one["member_number"], spoken(one["class"]), *shown, one["evidence"])
    console().print(table)


def _check(run: DemoRun, programme: Programme, of: Record) -> None:
    found: dict[str, list[str]] = {name: [] for name in _CLASSES}
    for one in _differences(run, of):
        found.setdefault(one["class"], []).append(one["member_number"])
    wrong = [
        f"{name}: found {', '.join(sorted(found[name])) or 'nobody'}, planted {', '.join(planted)}"
        for name, planted in programme.expected.items()
        if sorted(found[name]) != planted
    ]
    count = sum(map(len, found.values()))
    run.promise(f"all {count} differences are found, each in its class, and nobody else", wrong)
    unsaid = [one["member_number"] for one in _differences(run, of) if not one["evidence"]]
    run.promise("each is explained by one sentence of evidence", unsaid)
    whole = of["drift"]["low"] == of["drift"]["high"] == of["drift"]["estimate"]
    run.promise(
        f"everybody was looked at, so {of['drift']['estimate']:.0%} is no guess",
        [] if whole and of["covered"] == 1 else [f"{of['drift']}, {of['covered']} covered"],
    )


def _repair(run: DemoRun, programme: Programme, of: Record) -> None:
    say("3. an operator repairs what was found: first the plan")
    wanted = {"run": of["id"], "reason": "found by the reconciliation"}
    plan: Record = run.api.post("/v1/repairs", json={**wanted, "dry_run": True}).raise_for_status().json()
    say(f"   the plan: {counted({name: count for name, count in plan['counts'].items() if count})}")
    for one in plan["reasons"]:
        say(f"     {one['count']} {one['verdict']}: {one['reason']}")
    job: Record = run.api.post("/v1/repairs", json=wanted).raise_for_status().json()

    def is_over() -> bool:
        job.update(run.read(f"/v1/repairs/{job['job_id']}"))
        return job["ended_at"] is not None

    run.until(is_over, "the repair to end", within_s=_WITHIN_S)
    run.until(run.is_settled, "repaired")
    say(f"   job {job['job_id']}: {job['state']}; {counted({n: c for n, c in job['counts'].items() if c})}")
    after = _reconciled(run)
    left = {name: count for name, count in after["differences"].items() if count}
    wrong = [f"{count} {spoken(name)} are left" for name, count in left.items() if name not in _SHOWN_ONLY]
    run.promise("what a repair may put right is right", wrong or ([] if after["state"] == "done" else [after["state"]]))
    missing = [name for name in sorted(_SHOWN_ONLY) if left.get(name) != EACH]
    run.promise("what may be a lawful erasure, or somebody else's member, is left as it is, and shown", missing)
    users = {str(user["third_party_id"]): user["last_name"] for user in run.control.users()}
    newest = dict.fromkeys(
        (number for name in _CLASSES if name not in _SHOWN_ONLY for number in programme.of[name]), "Version 0"
    ) | dict.fromkeys((*programme.of["missed_event"], *programme.of["ledger_behind"]), "Version 1")
    run.promise(
        "CrowdTwist holds what Siebel has now",
        [f"{number}: {users.get(number)}, not {name}" for number, name in newest.items() if users.get(number) != name],
    )


def _desk(run: DemoRun) -> None:
    say("4. members are refused: for an address that another has, who wants it moves; for what they say themselves")
    run.send(*(_wants(number, address) for number, address in _HAVE.items()))
    run.until(run.is_settled, "they have their addresses")
    run.send(_deleted("HAS-ONCE"))
    run.until(run.is_settled, "deleted in Siebel")
    run.control.plant({"third_party_id": "OUTSIDE", "email_address": "outside@example.org"})
    for some in _REFUSED:
        run.send(*some)
        run.until(run.is_settled, "refused")
    wanted = {kind: sorted(numbers) for kind, numbers in _KINDS.items()}

    def kinds() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in run.read("/v1/cases", [("limit", 1000)])["items"]:
            found.setdefault(one["kind"], []).append(one["member_number"])
        return {kind: sorted(numbers) for kind, numbers in found.items()}

    with suppress(NotSettledError):  # then the promise says which
        run.until(lambda: kinds() == wanted, "every case to be of its kind", within_s=_CASES_WITHIN_S)
    found = kinds()
    table = Table(title="Who must do what", title_justify="left")
    for heading in ("member", "kind", "what to do"):
        table.add_column(heading)
    for one in run.read("/v1/cases", [("limit", 1000)])["items"]:
        table.add_row(one["member_number"], spoken(one["kind"]), one["what_to_do"])
    console().print(table)
    run.promise(
        f"a case of each kind is found by itself: {', '.join(map(spoken, wanted))}",
        [
            f"{kind}: {found.get(kind)}, not {wanted.get(kind)}"
            for kind in wanted | found
            if wanted.get(kind) != found.get(kind)
        ],
    )
    say("5. one holder moves, and the members that are wrong are corrected in Siebel")
    run.send(_wants("HAS", "has.moved@example.org", 5), *_CORRECTED)
    gone = ("taken_by_active", "chain", "format", "missing")
    run.until(lambda: run.is_settled() and not kinds().keys() & set(gone), "cases to close", within_s=_WITHIN_S)
    closed = {
        one["member_number"]: one["closed_how"]
        for one in run.read("/v1/cases", [("limit", 1000), ("state", "closed")])["items"]
    }
    corrected = [number for kind in gone for number in _KINDS[kind]]
    run.promise(
        f"the cases of {len(corrected)} members close by themselves, and say how",
        [f"{number}: {closed.get(number)}" for number in corrected if not closed.get(number)],
    )
    run.promise("what is left needs a person, and is shown", sorted(set(wanted) - set(gone) - kinds().keys()))


_HAVE = {
    "HAS": "has@example.org",
    "HAS-ONCE": "has.once@example.org",
    "LINK": "link@example.org",
    "RING-1": "ring.1@example.org",
    "RING-2": "ring.2@example.org",
}
"""The addresses that members begin with."""


def _wants(number: str, address: str, version: int = 0) -> Record:
    wanted = event(number, version)
    wanted["member"]["email_address"] = address
    return wanted


def _deleted(number: str) -> Record:
    return {**event(number, 1), "operation": "delete"}


def _says(number: str, **fields: str) -> Record:
    said = event(number)
    said["member"].update(fields)
    return said


_REFUSED: Sequence[Sequence[Record]] = (
    [_wants("LINK", "has@example.org", 1)],
    [_wants("CHAINED", "link@example.org")],
    [_wants("AGAIN", "has.once@example.org"), _wants("GUEST", "outside@example.org")],
    [_wants("RING-1", "ring.2@example.org", 1), _wants("RING-2", "ring.1@example.org", 1)],
    [_says("ANGLED", first_name="Ann<b>"), _says("NAMELESS", last_name="")],
)
"""Those who are refused, one after the other where that matters."""
_KINDS: Mapping[str, Sequence[str]] = {
    "taken_by_active": ["LINK"],
    "taken_by_inactive": ["AGAIN"],
    "chain": ["CHAINED"],
    "cycle": ["RING-1", "RING-2"],
    "outside_holder": ["GUEST"],
    "format": ["ANGLED"],
    "missing": ["NAMELESS"],
}
_CORRECTED = (
    {**_says("ANGLED"), "event_id": "ANGLED-9", "modification": 9},
    {**_says("NAMELESS"), "event_id": "NAMELESS-9", "modification": 9},
)


def _row(number: str, version: int) -> dict[str, str]:
    """Return a member as Siebel has it: what its event of *version* says, under Siebel's labels."""
    member = event(number, version)["member"]
    named = {labels()[name][0]: str(value) for name, value in member.items() if name in labels()}
    return {**named, "member_number": number, "row_id": str(member["row_id"])}
