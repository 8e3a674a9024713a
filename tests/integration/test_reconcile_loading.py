"""A run is carried on while its files are still handed over, as far as their rows are there, and never further."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from producers.intake.refused import BodyError
from producers.operations.reconcile import process, runs
from producers.operations.reconcile.files import ROWS_PACKED, FileRow, HandedOver, crowdtwist_file, packed, siebel_file
from producers.operations.reconcile.runs import Ask
from shared.ledger import run_turns
from shared.ledger.engine import transaction
from shared.ledger.run_turns import RunLostError
from shared.reconciling import Side
from tests.integration.test_reconcile_from_files import export, profiles
from tests.reconciling import OSCAR, Programme, named
from tests.rig import Pipeline

NOWHERE = {"siebel": {"base_url": None}, "crowdtwist": {"base_url": None}}


@pytest.fixture
def programme(pipeline: Pipeline) -> Programme:
    """Return a programme of six members in sync, and one that differs on either side; nothing is running."""
    pipeline.sandbox.control.set("siebel", auto_members=False)
    programme = Programme(pipeline, {})
    with pipeline.whole():
        programme.sync(*named("fine", 6))
    programme.in_crowdtwist("PUT", "fine-002", last_name="Cole")
    programme.settings = NOWHERE
    return programme


@pytest.fixture
def paths(programme: Programme, tmp_path: Path) -> dict[Side, Path]:
    """Return files of both sides: one who changed in each, one who is gone from Siebel's."""
    members = export(tmp_path / "members.csv", *named("fine", 5), names={"fine-001": "Hanna"})
    users = programme.pipeline.sandbox.control.users()
    return {Side.SIEBEL: members, Side.CROWDTWIST: profiles(tmp_path / "2_7_PROFILE_20261123.zip", users)}


FOUND = {"missed_event": ["fine-001"], "changed_at_destination": ["fine-002"], "orphan": ["fine-005"]}


def rows_of(programme: Programme, paths: dict[Side, Path]) -> dict[Side, list[FileRow]]:
    with siebel_file(paths[Side.SIEBEL], programme.of) as siebel, crowdtwist_file(paths[Side.CROWDTWIST]) as crowdtwist:
        return {Side.SIEBEL: list(siebel.rows), Side.CROWDTWIST: list(crowdtwist.rows)}


def loading(programme: Programme, paths: dict[Side, Path]) -> int:
    """Make a run whose files are still to be handed over."""
    files = {side: HandedOver(path.name, ()) for side, path in paths.items()}
    with transaction(programme.pipeline.ledger) as tx:
        return run_turns.create(tx, Ask(files=files).request(OSCAR.name, programme.of))


def carry(programme: Programme) -> tuple[str, str, str, bool]:
    """Carry on what can be, and return how far the run is, and whether its lease was let go."""
    while process.carry_on(programme.of):
        pass
    (row,) = programme.pipeline.sql(
        "select state, phase, cursor, coalesce(lease_until <= clock_timestamp(), true) from reconciliation"
    )
    return (row[0], row[1], row[2], row[3])


def hand_over(programme: Programme, run_id: int, side: Side, place: int, rows: list[FileRow]) -> None:
    (piece,) = packed(rows)
    with transaction(programme.pipeline.ledger) as tx:
        run_turns.hand_over(tx, run_id, side, place, piece.rows, digest=piece.digest)


def test_rows_are_compared_while_others_are_still_handed_over(programme: Programme, paths: dict[Side, Path]) -> None:
    rows, run_id = rows_of(programme, paths), loading(programme, paths)
    assert carry(programme) == ("loading", "siebel", "", True)
    for place, row in enumerate(rows[Side.SIEBEL]):
        hand_over(programme, run_id, Side.SIEBEL, place, [row])
        assert carry(programme) == ("loading", "siebel", str(place + 1), True)
    seen = programme.pipeline.sql("select member_number from sighting where stratum <> 'not_in_siebel' order by 1")
    assert seen == named("fine", 5)
    for place, row in enumerate(rows[Side.CROWDTWIST]):  # its first says that Siebel's file is over
        hand_over(programme, run_id, Side.CROWDTWIST, place, [row])
        assert carry(programme) == ("loading", "file", str(place + 1), True)
    assert programme.pipeline.sql("select count(*) from difference") == [0]
    with transaction(programme.pipeline.ledger) as tx:
        assert run_turns.loaded(tx, run_id)
    assert carry(programme)[0] == "done"
    (run,) = runs.listed(programme.pipeline.ledger, limit=2).items
    assert programme.classes(run) == FOUND


def test_a_run_that_waits_for_rows_lets_others_go_first(programme: Programme, paths: dict[Side, Path]) -> None:
    rows, slow = rows_of(programme, paths), loading(programme, paths)
    hand_over(programme, slow, Side.SIEBEL, 0, rows[Side.SIEBEL][:1])
    with siebel_file(paths[Side.SIEBEL], programme.of) as siebel:
        other = runs.start(programme.pipeline.ledger, OSCAR, Ask(files={Side.SIEBEL: siebel}), programme.of)
    assert process.carry_on(programme.of)
    states = "select state from reconciliation order by id"
    assert programme.pipeline.sql(states) == ["loading", "done"]
    assert process.carry_on(programme.of)
    assert not process.carry_on(programme.of)
    assert programme.pipeline.sql("select phase, cursor, state from reconciliation order by id")[0] == (
        *("siebel", "1", "loading"),
    )
    assert runs.stop(programme.pipeline.ledger, OSCAR, slow)
    assert other.id != str(slow)


def test_a_file_that_breaks_off_leaves_no_difference(programme: Programme, paths: dict[Side, Path]) -> None:
    def broken(carried: Callable[[], object]) -> Iterator[FileRow]:
        """Yield more than two pieces, so that the first is written; have it carried on, then fail."""
        (row, *_) = rows_of(programme, paths)[Side.SIEBEL]
        for place in range(2 * ROWS_PACKED + 1):
            yield row._replace(whose=f"M-{place}")
        carried()
        raise BodyError("line 4001", "is too long to be CSV")

    given = HandedOver("members.csv", broken(lambda: carry(programme)))
    with pytest.raises(BodyError, match="too long"):
        runs.start(programme.pipeline.ledger, OSCAR, Ask(files={Side.SIEBEL: given}), programme.of)
    assert carry(programme)[0] == "stopped"
    (run,) = runs.listed(programme.pipeline.ledger, limit=2).items
    assert (run.differences, run.why) == ({}, "its file could not be read whole")
    assert programme.pipeline.sql("select count(*) from sighting") != [0]


def test_both_files_are_handed_over_in_one_order_whichever_was_named_first(
    programme: Programme, paths: dict[Side, Path]
) -> None:
    with siebel_file(paths[Side.SIEBEL], programme.of) as siebel, crowdtwist_file(paths[Side.CROWDTWIST]) as crowdtwist:
        order: list[str] = []

        def noted(file: HandedOver) -> HandedOver:
            def rows() -> Iterator[FileRow]:
                yield from file.rows
                order.append(file.name)

            return replace(file, rows=rows())

        asked = Ask(files={Side.CROWDTWIST: noted(crowdtwist), Side.SIEBEL: noted(siebel)})
        runs.start(programme.pipeline.ledger, OSCAR, asked, programme.of)
    assert order == ["members.csv", "2_7_PROFILE_20261123.zip"]
    assert carry(programme)[0] == "done"


def test_who_carries_a_run_on_when_its_last_rows_come_goes_on_with_it(
    programme: Programme, paths: dict[Side, Path]
) -> None:
    rows, run_id = rows_of(programme, paths), loading(programme, paths)
    hand_over(programme, run_id, Side.SIEBEL, 0, rows[Side.SIEBEL])
    with transaction(programme.pipeline.ledger) as tx:
        turn = run_turns.take(tx, 7, lease_s=3_600)
    assert turn is not None
    assert (turn.id, turn.state) == (run_id, "loading")
    with transaction(programme.pipeline.ledger) as tx:
        assert run_turns.loaded(tx, run_id)
        assert run_turns.take(tx, 8, lease_s=60) is None
        run_turns.advance(tx, turn, lease_s=60, phase=turn.phase, cursor="1", more={})
    assert programme.pipeline.sql("select state, cursor from reconciliation") == [("running", "1")]


def test_who_died_while_rows_were_handed_over_lets_go_of_its_lease(
    programme: Programme, paths: dict[Side, Path]
) -> None:
    rows, run_id = rows_of(programme, paths), loading(programme, paths)
    hand_over(programme, run_id, Side.SIEBEL, 0, rows[Side.SIEBEL])
    with transaction(programme.pipeline.ledger) as tx:
        assert run_turns.take(tx, 7, lease_s=3_600) is not None
    with transaction(programme.pipeline.ledger) as tx:
        assert run_turns.take(tx, 8, lease_s=60) is None
        run_turns.let_go(tx, 7)
    with transaction(programme.pipeline.ledger) as tx:
        turn = run_turns.take(tx, 8, lease_s=60)
        assert turn is not None
        with pytest.raises(RunLostError):
            run_turns.advance(tx, replace(turn, token=7), lease_s=1, phase=turn.phase, cursor="1", more={})
