"""A discard is undone: what nothing newer has overtaken is again what it was, and the rest says why it is not."""

import httpx
from sqlalchemy import Engine

from shared.ledger.jobs import Kind
from shared.ledger.transitions import undos
from tests.console import hidden, link, logged_in, post, said
from tests.road import ALWAYS_REFUSED, Road, start, verdicts
from tests.terminal import Terminal

DAY_S = 86_400
OSCAR = {"Authorization": "Bearer tok-oscar"}


def discarded(road: Road, *numbers: str) -> int:
    """Discard the newest instance of each member; the job."""
    listed = ", ".join(f"'{number}'" for number in numbers)
    ids = road.sql(f"select max(id) from instance where member_number in ({listed}) group by member_number")
    job = start(road, *ids, kind=Kind.DISCARD)
    road.turn()
    return job


def undone(road: Road, job: int) -> dict[str, int]:
    """Undo a discard; what came of it."""
    with road.ledger.begin() as tx:
        ids = undos.discarded(tx, job)
    undo = start(road, *ids, kind=Kind.UNDO)
    road.turn()
    return road.counts(undo)


def planned_undo(road: Road, job: int, *, undo_s: float = DAY_S) -> dict[str, tuple[str, str]]:
    with road.ledger.begin() as tx:
        found = verdicts(undos.plan(tx, undos.discarded(tx, job), undo_s=undo_s))
    return {road.sql(f"select member_number from instance where id = {one}")[0]: said for one, said in found.items()}


KEPT = "to_jsonb(i)"


def test_each_is_again_what_it_was(road: Road) -> None:
    road.dead("M-dead")
    road.accept("M-refused")
    road.travel(ALWAYS_REFUSED)
    road.sql("update instance set cleared = 1 where member_number = 'M-refused'")
    road.sql("update member set shown = shown & ~1 where member_number = 'M-refused'")
    road.accept("M-waits", "M-pending")
    road.sql(
        "update instance set state = 'waiting', attempt = 3, code = 'unavailable', failed_stage = 'oic', "
        "due_at = now() + interval '1 hour' where member_number = 'M-waits'"
    )
    before = road.sql(f"select {KEPT} from instance i where member_number in ('M-dead', 'M-refused') order by id")
    cases = road.sql("select count(*) from data_case where closed_at is null")
    shown = road.sql("select shown from member order by member_number")
    reports = road.sql("select instance_id, kind from errand order by 1, 2")
    job = discarded(road, "M-dead", "M-refused", "M-waits", "M-pending")
    assert road.states() == {"discarded": 4}
    assert undone(road, job) == {"closed": 4}
    assert road.states() == {"dead": 1, "rejected": 1, "pending": 2}
    assert before == road.sql(
        f"select {KEPT} from instance i where member_number in ('M-dead', 'M-refused') order by id"
    )
    assert road.sql("select shown from member order by member_number") == shown
    assert road.sql("select count(*) from data_case where closed_at is null") == cases
    assert road.sql("select instance_id, kind from errand order by 1, 2") == reports
    assert road.sql("select attempt from instance where member_number = 'M-waits' and due_at <= now()") == [3]
    road.travel()
    assert road.states() == {"dead": 1, "rejected": 1, "completed": 2}
    assert set(planned_undo(road, job)) == {"M-dead", "M-refused", "M-waits", "M-pending"}
    assert {verdict for verdict, _ in planned_undo(road, job).values()} == {"refused"}


def test_what_something_newer_has_overtaken_stays_discarded(road: Road) -> None:
    members = ["M-done", "M-going", "M-failed", "M-dropped", "M-older", "M-free"]
    road.dead("M-older")
    road.dead(*members, minute=1)
    job = discarded(road, *members)
    road.accept("M-done", minute=2)
    road.travel()
    road.dead("M-failed", "M-dropped", minute=2)
    discarded(road, "M-dropped")
    start(road, *road.sql("select min(id) from instance where member_number = 'M-older'"))
    road.turn()
    road.accept("M-going", minute=2)
    plan = planned_undo(road, job)
    assert {number: verdict for number, (verdict, _) in plan.items() if verdict != "refused"} == {"M-free": "restore"}
    assert {number: reason for number, (_, reason) in plan.items() if reason} == {
        "M-done": "a newer event of the member succeeded",
        "M-going": "a newer event of the member is on its way",
        "M-failed": "a newer event of the member came since",
        "M-dropped": "a newer event of the member came since",
        "M-older": "an older event of the member is on its way",
    }
    with road.ledger.begin() as tx:
        ids = undos.discarded(tx, job)
    undo = start(road, *ids, kind=Kind.UNDO)
    road.accept("M-free", minute=2)
    road.turn()
    assert road.counts(undo) == {"refused": 6}, "judged again when it is done"


def test_a_days_discard_only_and_none_of_a_guard_that_was_condemned(road: Road, flood: Road) -> None:
    assert flood is not None
    road.dead("M-late", "M-other")
    job = discarded(road, "M-late", "M-other")
    road.sql("update instance set finished_at = now() - interval '25 hours' where member_number = 'M-late'")
    assert planned_undo(road, job)["M-late"][1].startswith("it was discarded longer ago")
    assert planned_undo(road, job)["M-other"][0] == "restore"
    assert planned_undo(road, job, undo_s=0)["M-other"][0] == "refused"
    road.sql("update job_item set was = null")
    assert planned_undo(road, job)["M-other"][0] == "refused"


def test_api_console_and_command_line_undo_with_a_plan_first(
    client: httpx.Client, road: Road, ledger: Engine, cli: Terminal
) -> None:
    assert ledger is not None
    road.dead("M-1", "M-2", "M-3")
    job = discarded(road, "M-1", "M-2", "M-3")
    ids = road.sql("select id::text from instance order by id")
    plan = client.post("/v1/undos", json={"discard": str(job), "dry_run": True}, headers=OSCAR).json()
    assert (plan["kind"], plan["counts"]) == ("undo", {"restore": 3, "refused": 0})
    for wrong in ({}, {"discard": job}, {"ids": ids, "discard": job, "reason": "x"}, {"discard": "x", "reason": "x"}):
        assert client.post("/v1/undos", json=wrong, headers=OSCAR).status_code == 400, wrong
    assert client.post("/v1/undos", json={"discard": 999, "reason": "x"}, headers=OSCAR).status_code == 409
    vera = {"Authorization": "Bearer tok-vera"}
    assert client.post("/v1/undos", json={"discard": job, "reason": "x"}, headers=vera).status_code == 403
    made = client.post("/v1/undos", json={"ids": ids[:1], "reason": "no test member"}, headers=OSCAR)
    assert (made.status_code, made.headers["location"]) == (202, f"/v1/undos/{made.json()['job_id']}")
    road.turn()
    assert client.get(made.headers["location"], headers=vera).json()["counts"]["closed"] == 1
    typed = cli("undo", ids[1], "--reason", "the wrong filter", "--no-wait", "--json").json
    assert typed["plan"]["counts"]["restore"] == 1
    assert [cli("undo").code, cli("undo", "x", "--reason", "x").code, cli("undo", ids[2]).code] == [2, 2, 2]
    road.turn()
    logged_in(client, "tok-oscar")
    assert "Undo the discard …" in said(client.get(f"/instances/{ids[2]}"))
    page = client.get(link(client.get(f"/jobs/{job}"), "Undo …"))
    assert "Undo the discard of 1 instance" in said(page)
    assert post(client, str(page.url), "/jobs", **hidden(page), reason="back").status_code == 303
    road.turn()
    assert road.states() == {"dead": 3}
    assert road.sql("select count(*) from operator_action where what = 'undo' and not denied and count = 1") == [3]
