"""The scene `incident`: CrowdTwist goes away and comes back again and again; all of it is one incident, with its cost.

What it says is checked against the simulators, who know when they were away and what they were asked.
"""

import time
from datetime import UTC, datetime
from http import HTTPStatus

from deploy.local.demo_run import DemoRun, Query, Record, Scene, event, faulty
from deploy.local.stack import say

_FLAPS = 4
_MEMBERS = 30
_WARM_UP = 20
_OPENED_WITHIN_S = 10.0
_NEAR_S = 5.0
"""How near to the truth the windows are."""
_ALL = 20_000


def incident() -> Scene:
    """Let CrowdTwist flap, and read what that came to."""
    return Scene(
        about=(
            f"CrowdTwist goes away and comes back {_FLAPS} times within a minute. For whoever operates that is one "
            "thing that went wrong:\none incident, which knows whom it affected and what it cost, and has its story "
            "told as a document."
        ),
        act=act,
        changes={
            "crowdtwist": {"probe_first_s": 0.2, "probe_cap_s": 0.4, "timeout_s": 2.0},
            "siebel": {"report_after_s": 2.0},
            "reconcile": {"every_h": 0.0},
        },
    )


def act(run: DemoRun) -> None:
    """Play it."""
    say(f"1. all is well: {_WARM_UP} members come through")
    run.send(*(event(f"W-{number:03}") for number in range(_WARM_UP)))
    run.until(run.is_settled, "the first members through")

    say(f"2. CrowdTwist answers 503, {_FLAPS} times, while events arrive")
    for number in range(_FLAPS):
        _flap(run, number)
    run.until(run.is_settled, "everything sent")
    found = _incidents(run)
    run.promise(
        f"{_FLAPS} outages are one incident",
        [] if len(found) == 1 and found[0]["counts"]["openings"] == _FLAPS else [f"{found}"],
    )
    one = run.read(f"/v1/incidents/{found[0]['id']}")
    _check_windows(run, one)
    _check_counts(run, one)
    say(f"   incident {one['id']}, fingerprint {one['fingerprint']}: {one['cause']}")
    cost = one["cost"]
    say(
        f"   {cost['late_events']} late events, {cost['member_minutes_stale']:.1f} member-minutes stale, the oldest "
        f"{cost['worst_age_s']:.1f} s, {cost['wasted_calls']} calls wasted, {cost['dead_letters']} dead letters"
    )

    say("3. somebody takes it up and says what it was")
    run.api.post(f"/v1/incidents/{one['id']}/acknowledge").raise_for_status()
    note = {"text": "their load balancer was replaced"}
    run.api.post(f"/v1/incidents/{one['id']}/notes", json=note).raise_for_status()
    noted = run.read(f"/v1/incidents/{one['id']}")
    kinds = [line["kind"] for line in noted["time_line"]]
    wanted = ("down", "up", "probe", "acknowledged", "note")
    run.promise(
        "the time line has openings, probes, returns, who took it up, and the note",
        [kind for kind in wanted if kind not in kinds],
    )
    run.promise("nobody had to do anything else", [one["member_number"] for one in run.instances("dead")])
    say("   the same as a report:\n")
    say(f"   membersync incidents {one['id']} --export md      # and the page /incidents/{one['id']}")


def _flap(run: DemoRun, number: int) -> None:
    """Let CrowdTwist be away until an incident is open and members are held, and then be back."""
    with faulty(run.control, "crowdtwist", "maintenance"):
        run.send(*(event(f"S-{number}-{place:03}") for place in range(_MEMBERS)))
        run.until(lambda: run.connection("crowdtwist")["state"] != "up", "the breaker open")
        opened = time.monotonic()
        run.until(lambda: any(one["state"] == "open" for one in _incidents(run)), "the incident open")
        took_s = time.monotonic() - opened
        if not number:
            run.promise(
                f"it is open {took_s:.1f} s after the breaker (at most {_OPENED_WITHIN_S:g} s)",
                [] if took_s <= _OPENED_WITHIN_S else [f"{took_s:.1f} s"],
            )
        run.until(lambda: len(run.instances("held")) >= _MEMBERS - 1, "members held")
    run.until(lambda: run.connection("crowdtwist")["state"] == "up", "it is back")


def _incidents(run: DemoRun) -> list[Record]:
    found: list[Record] = run.read("/v1/incidents")["items"]
    return found


def _calls(run: DemoRun, status: HTTPStatus) -> list[float]:
    """Return when CrowdTwist was asked for a member and answered so, by its own record; our tests of it are none."""
    calls = run.control.calls("crowdtwist", limit=_ALL)
    return sorted(one["at"] for one in calls if one["status"] == status and str(one["key"]).startswith(("S-", "W-")))


def _check_windows(run: DemoRun, one: Record) -> None:
    """Hold the window of the connection against the simulator's record: its first refusal, its first answer after."""
    refused = _calls(run, HTTPStatus.SERVICE_UNAVAILABLE)
    back = [at for at in _calls(run, HTTPStatus.OK) if at > refused[-1]]
    window = one["windows"]["connection"]
    off = [
        f"{name}: {said} instead of {datetime.fromtimestamp(true, UTC).isoformat()}"
        for name, said, true in (("from", window["from_at"], refused[0]), ("to", window["to_at"], back[0]))
        if abs(datetime.fromisoformat(said).timestamp() - true) > _NEAR_S
    ]
    run.promise(f"its window is that of the simulator, within {_NEAR_S:g} s", off)


def _check_counts(run: DemoRun, one: Record) -> None:
    """Hold what was counted against what the simulator was asked, and who waited against the activity."""
    wasted, counted = len(_calls(run, HTTPStatus.SERVICE_UNAVAILABLE)), one["counts"]["instances"]
    lines = {
        item["instance_id"]: [
            line for line in run.instance(item["instance_id"])["activity"] if line["stage"] == "crowdtwist"
        ]
        for item in run.instances()
    }
    late = {
        instance_id
        for instance_id, some in lines.items()
        if any((line["state"] == "held" or line["code"]) and (line["attempt"] or not line["took_ms"]) for line in some)
    }
    # A connection that breaks takes with it what CrowdTwist never saw.
    unheard = sum(
        call["http_status"] is None for some in lines.values() for line in some for call in line["calls"] or ()
    )
    said = one["cost"]["wasted_calls"]
    beside = f", and {unheard} that it never heard" if unheard else ""
    run.promise(
        f"{wasted} wasted calls, as CrowdTwist itself has recorded{beside}",
        [] if wasted <= said <= wasted + unheard else [f"{said} are counted"],
    )
    query: Query = [("incident", one["id"]), ("limit", "1000")]
    found = {item["instance_id"] for item in run.read("/v1/instances", query)["items"]}
    run.promise(
        f"{counted} late events, those whose activity says so, and the filter finds them",
        [] if counted == len(late) and found == late else [f"{len(late)} by their activity, {len(found)} found"],
    )
