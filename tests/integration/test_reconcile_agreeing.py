"""Rows of files that are told to agree by one statement: the full comparison finds nothing in any of them either."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as properties
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from producers.intake.profiles import Profile
from producers.intake.siebel_rows import SiebelRecord
from producers.operations.reconcile import files, looks
from producers.operations.reconcile.looks import Row
from producers.operations.reconcile.sides import Sides
from shared.events import content_hash, parse_event
from shared.ledger import agreeing, run_turns, sightings
from shared.reconciling import Side, Stratum
from shared.settings import Settings
from shared.systems.crowdtwist import SYNCED
from tests.rig import member_event

SEED = 7
LONG_AGO, LATELY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2190, 1, 1, tzinfo=UTC)
PROGRAM = "1-PRG"
USER = {
    "first_name": "Ann",
    "gender_id": 2,
    "is_active": True,
    "email_address": "ann@example.org",
    "city": None,
    "date_of_birth": 86_400,
}
ENDED = ("completed", "dead", "rejected")
Case = dict[str, Any]
"""A member in the ledger and a row of it; the names are those of `SOUND`."""
SOUND: Case = {
    "changes": {"program_id": PROGRAM},
    "said": {},
    "is_deleted": False,
    "status": "Success",
    "error": "",
    "newest": "there",
    "applied": "newest",
    "member": {"told_status": "Success", "told_error": "", "ct_user_id": 0},
    "told": 0,
    "newest_operation": "update",
    "newest_hash": "same",
    "applied_hash": "same",
    "of_newest": {"state": "completed", "status": "Success"},
    "of_applied": {},
    "accepted_at": LONG_AGO,
    "errand": False,
    "echoed": USER,
    "user": USER,
    "updated": None,
    "sighting": {"stratum": "long_untouched"},
}
SPOILT: Mapping[str, Sequence[Any]] = {
    "said": ({"first_name": "Bo"}, {"status": "Inactive"}, {"program_id": "1-B"}, {"member_type": "Household"}),
    "is_deleted": (True,),
    "status": (None, "Data Error", "", "Success\n"),
    "error": (None, "no such city", " "),
    "newest": ("pruned", "none"),
    "applied": ("older", "pruned", "none"),
    "told": (-1, 1, None),
    "newest_operation": ("delete", "enroll", None),
    "newest_hash": ("other",),
    "applied_hash": ("other", None),
    "of_newest": (
        {"state": "dead", "code": "data", "failed_stage": "oic", "status": "Data Error"},
        {"state": "completed", "status": "Success", "losses": 1},
        {"state": "completed", "status": "Success", "resubmits": 1},
        {"state": "pending"},
        {"state": "running", "token": 1, "lease_until": LATELY},
        {"state": "completed", "status": None},
    ),
    "of_applied": ({"operation": "delete"}, {"losses": 1}, {"resubmits": 2}),
    "member": (
        {"told_status": None},
        {"told_status": "Data Error", "told_error": "no such city"},
        {"told_status": "Success", "told_error": None},
        {"told_status": "Success", "told_error": "", "unknown_outcome": True},
        {"told_status": "Success", "told_error": "", "lost_write_id": 1},
        {"told_status": "Success", "told_error": "", "lost_tell_id": 1},
        {"told_status": "Success", "told_error": "", "tell_again_at": LATELY},
        {"told_status": "Success", "told_error": "", "errand_id": -5},
    ),
    "accepted_at": (LATELY,),
    "errand": (True,),
    "echoed": (None, {}, USER | {"first_name": "Bo"}, USER | {"gender_id": "2", "city": ""}, USER | {"is_active": 1}),
    "user": (
        {},
        USER | {"first_name": "ANN"},
        USER | {"email_address": "Ann@Example.org"},
        USER | {"is_active": False},
        USER | {"date_of_birth": 1, "city": "Bath"},
        USER | {"city": "{}"},
    ),
    "updated": (LATELY, LONG_AGO - timedelta(days=1), LONG_AGO, 10**11),
    "sighting": (
        *({"stratum": one} for one in Stratum),
        *({"stratum": "recent", "outcome": one} for one in ("moving", "unread")),
        {"stratum": "recent", "suspected_at": LATELY},
        None,
    ),
}


def cases() -> st.SearchStrategy[Case]:
    """Return members of which most are in sync, and others differ in any way."""
    return st.fixed_dictionaries(
        {name: st.sampled_from([good] * 12 + [*SPOILT.get(name, ())]) for name, good in SOUND.items()}
    )


def insert(tx: Connection, table: str, row: Mapping[str, Any]) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    given_ = f"jsonb_populate_record(cast(null as {table}), cast(:row as jsonb))"
    tx.execute(
        text(f"insert into {table} ({names}) select {names} from {given_}"),
        {"row": orjson.dumps(row, default=_hex).decode()},
    )


def _hex(value: bytes) -> str:
    return f"\\x{value.hex()}"


def plant(tx: Connection, at: int, case: Case) -> SiebelRecord:
    """Put a member into the ledger; return its row in Siebel's file."""
    number, newest_id = f"M-{at}", 10 * at + 5
    accepted = parse_event(member_event(number, **case["changes"]), max_bytes=64_000)
    hashes = {"same": content_hash(accepted), "other": b"other", None: None}
    applied_id = {"newest": newest_id, "none": None}.get(case["applied"], newest_id - 1)
    for id_, is_there, more in (
        (newest_id, case["newest"] == "there", case["of_newest"]),
        (newest_id - 1, case["applied"] == "older", {"state": "completed"} | case["of_applied"]),
    ):
        row = {
            "id": id_, "event_id": f"e-{id_}", "event_hash": b"e", "content_hash": hashes[case["newest_hash"]],
            "member_number": number, "operation": "update", "lane": "bulk", "occurred_at": LONG_AGO,
            "accepted_at": case["accepted_at"], "due_at": LONG_AGO, "stage": "oic", "due_stage": "oic", **more,
        }  # fmt: skip
        row["finished_at"] = LONG_AGO if row["state"] in ENDED else None
        if is_there:
            insert(tx, "instance", row)
    told = case["told"]
    member = {
        "member_number": number,
        "newest_id": None if case["newest"] == "none" else newest_id,
        "newest_operation": case["newest_operation"],
        "newest_occurred_at": LONG_AGO,
        "applied_id": applied_id,
        "applied_hash": hashes[case["applied_hash"]],
        "told_id": None if told is None else newest_id + told,
        "told_at": LONG_AGO,
        "echoed": case["echoed"],
        "known_in_crowdtwist": True,
        **case["member"],
        "ct_user_id": newest_id,
    }
    insert(tx, "member", member)
    if case["errand"] and case["newest"] == "there":
        owed = {"kind": "report", "stage": "siebel", "lane": "bulk", "due_at": LATELY}
        insert(tx, "errand", {"id": -at - 1, "instance_id": newest_id, "member_number": number, **owed})
    event = parse_event(member_event(number, **case["changes"] | case["said"]), max_bytes=64_000)
    return SiebelRecord(
        f"1-{number}",
        number,
        event,
        sync_status=case["status"],
        sync_error=case["error"],
        is_deleted=case["is_deleted"],
    )


def rows_agree(ledger: Engine, some: Sequence[Case], of: Settings) -> list[int]:
    """Return which rows of Siebel's are told to agree; each is as the full comparison has it, or it fails."""
    with ledger.connect() as tx:
        run_id = a_run_in(tx)
        records = [plant(tx, at, case) for at, case in enumerate(some)]
        (piece,) = files.packed(map(files.row_of, records))
        run_turns.hand_over(tx, run_id, Side.SIEBEL, 0, piece.rows, digest=piece.digest)
        sides = Sides(of, run_turns.now(tx))
        told = agreeing.see_rows(tx, run_id, 0, program=of.program_id, now=sides.now, seed=SEED, drawn=False)
        known = sightings.known(tx, [f"M-{at}" for at, _ in enumerate(some)])
        written = sightings.seen(tx, run_id, list(known))
        read = [files.record_of(said) for said in files.unpacked(piece.rows)]
    same = [at for at in range(len(some)) if told is not None and at not in told.others]
    assert told is None or told.same == len(same)
    assert sorted(written) == sorted(f"M-{at}" for at in same)
    for at in same:
        siebel = sides.in_siebel(read[at], known[f"M-{at}"])
        assert siebel.is_member
        assert looks.first_at_row(sides, Row(read[at]), siebel, known[f"M-{at}"]) == written[f"M-{at}"]
    return same


_MOVED = text("""
    select pg_stat_get_xact_tuples_updated('sighting'::regclass)
         - pg_stat_get_xact_tuples_hot_updated('sighting'::regclass)
""")


def users_agree(ledger: Engine, some: Sequence[Case], *, by_id: bool = False) -> list[int]:
    """Return which rows of CrowdTwist's are told to agree; the full comparison finds nothing there, or it fails."""
    profiles = [profile(at, case, by_id=by_id) for at, case in enumerate(some)]
    with ledger.connect() as tx:
        run_id = a_run_in(tx)
        for at, case in enumerate(some):
            plant(tx, at, case)
            if case["sighting"]:
                seen = {"run_id": run_id, "member_number": f"M-{at}", "place": at, "marker": "", **case["sighting"]}
                insert(tx, "sighting", seen)
        (piece,) = files.packed(map(files.row_of_profile, profiles))
        run_turns.hand_over(tx, run_id, Side.CROWDTWIST, 0, piece.rows, digest=piece.digest)
        sides = Sides(Settings(_env_file=None), run_turns.now(tx))
        numbers = [f"M-{at}" for at, _ in enumerate(some)]
        before = sightings.seen(tx, run_id, numbers)
        told = agreeing.look_at_users(tx, run_id, 0, now=sides.now)
        moved = tx.execute(_MOVED).scalar()
        after = sightings.seen(tx, run_id, numbers)
        known, acknowledged = sightings.known(tx, numbers), sightings.acknowledged(tx, numbers)
        users = files.by_member(files.unpacked(piece.rows), lambda ids: sightings.members_of_users(tx, ids))
    same = [at for at in range(len(some)) if told is not None and at not in told.others]
    assert told is None or told.same == len(same)
    assert moved == 0, "who was looked at stands elsewhere now, and in each index twice"
    for number, one in before.items():
        if int(number[2:]) not in same:
            assert after[number] == one
            continue
        assert one.outcome is None
        assert not files.is_stale(users[number], acknowledged[number])
        found = looks.first_at_user(sides, one, users[number], known[number], users[number])
        assert (found.outcome, found.suspected_at, found.looked_at) == (None, None, after[number].looked_at)
        assert after[number].looked_at is not None
    assert len(same) == sum(f"M-{at}" in before for at in same)
    return same


def profile(at: int, case: Case, *, by_id: bool) -> Profile:
    user = dict(case["user"])
    if case["updated"] is not None:
        updated = case["updated"]
        user["date_last_updated"] = int(updated.timestamp()) if isinstance(updated, datetime) else updated
    elif at % 2:
        user["date_last_updated"] = None
    shown = {name: str(value) if name == "gender_id" else value for name, value in user.items()}
    return Profile(at + 2, 10 * at + 5 if by_id else None, None if by_id else f"M-{at}", shown)


def a_run_in(tx: Connection) -> int:
    """Make a run; it goes with the transaction."""
    return int(
        tx.execute(
            text("""
                insert into reconciliation (state, mode, requested_by, asked, share, settle_s, seed)
                values ('planned', 'sample', 'oscar', '{}', 1, 1, 1) returning id
            """)
        ).scalar_one()
    )


ROWS = {
    *("said", "is_deleted", "status", "error", "newest", "applied", "told", "newest_operation", "newest_hash"),
    *("of_newest", "of_applied", "member", "accepted_at", "errand", "applied_hash"),
}
"""What a row of Siebel's is compared by; the rest counts for users."""
HARMLESS: Mapping[str, Sequence[Any]] = {
    "status": (None,),
    "error": (None,),
    "newest_operation": ("enroll",),
    "accepted_at": (LATELY,),
    "told": (1,),
    "applied": ("older", "none", "pruned"),
    "applied_hash": ("other", None),
    "of_newest": ({"state": "completed", "status": None},),
    "of_applied": ({"operation": "delete"}, {"losses": 1}, {"resubmits": 2}),
    "member": ({"told_status": "Success", "told_error": None},),
    "newest": ("pruned",),
}
"""What differs without being a difference; of an applied event other than the newest nothing is spoilt alone."""


def spoilt() -> list[Any]:
    """Return each way to spoil a row of Siebel's that the statement may not take for one that agrees."""
    return [
        pytest.param({name: value}, id=f"{name}-{place}")
        for name, values in SPOILT.items()
        for place, value in enumerate(values)
        if name in ROWS and value not in HARMLESS.get(name, ())
    ]


def test_a_member_in_sync_is_told_to_agree_on_both_sides(ledger: Engine) -> None:
    some = [SOUND, SOUND | {"accepted_at": LATELY}, SOUND | {"status": None, "error": None}]
    of = Settings(_env_file=None)
    assert rows_agree(ledger, some[:2], of.model_copy(update={"program_id": PROGRAM})) == [0, 1]
    assert rows_agree(ledger, some[2:], of) == [0]
    assert rows_agree(ledger, some, of) == []  # no file tells of some rows what it does not tell of others
    assert users_agree(ledger, some) == users_agree(ledger, some, by_id=True) == [0, 1, 2]


@pytest.mark.parametrize("more", spoilt())
def test_a_row_that_differs_is_left_to_the_full_comparison(ledger: Engine, more: Case) -> None:
    of = Settings(_env_file=None, program_id=PROGRAM)
    assert rows_agree(ledger, [SOUND | more, SOUND], of) == [1]


@pytest.mark.parametrize(
    "more",
    [
        *({"user": one} for one in SPOILT["user"][1:]),
        *({"sighting": {"stratum": one}} for one in Stratum if "siebel" in one or one.startswith(("never", "only"))),
        *({"sighting": one} for one in SPOILT["sighting"][-4:]),
        *({"applied": "none"}, {"errand": True}, {"applied": "older", "of_applied": {"operation": "delete"}}),
        *({"updated": LONG_AGO - timedelta(days=1)}, {"newest": "pruned", "newest_operation": "delete"}),
    ],
)
def test_a_user_that_differs_is_left_to_the_full_comparison(ledger: Engine, more: Case) -> None:
    assert users_agree(ledger, [SOUND | more, SOUND]) == [1]


def test_every_field_that_crowdtwist_shows_is_held_against_what_it_showed() -> None:
    assert set(agreeing.SHOWN) == SYNCED


def test_of_a_member_with_several_rows_none_is_told() -> None:
    numbers = ["M-0", "M-1", "M-0"]
    records = [
        SiebelRecord("1-A", number, parse_event(member_event(number), max_bytes=64_000), sync_status="Success")
        for number in numbers
    ]
    (piece,) = files.packed(map(files.row_of, records))
    assert piece.digest is not None
    assert (piece.digest[0], piece.digest[5]) == (b"\nM-1\n", None)
    (piece,) = files.packed(files.row_of_profile(Profile(2, 7, None, USER)) for _ in range(2))
    assert piece.digest is None


@given(st.lists(cases(), min_size=1, max_size=8), st.sampled_from(["", PROGRAM]))
@properties(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_that_is_told_to_agree_would_differ_in_full(ledger: Engine, some: list[Case], program: str) -> None:
    rows_agree(ledger, some, Settings(_env_file=None, program_id=program))


@given(st.lists(cases(), min_size=1, max_size=8), st.booleans())
@properties(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_user_that_is_told_to_agree_would_differ_in_full(ledger: Engine, some: list[Case], by_id: bool) -> None:  # noqa: FBT001
    users_agree(ledger, some, by_id=by_id)
