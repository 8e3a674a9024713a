"""Runs that are handed files: Siebel's export and CrowdTwist's profiles, read where they lie, at no call or few."""

import csv
import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.intake.refused import BodyError
from producers.operations.reconcile.files import crowdtwist_file, siebel_file
from producers.operations.reconcile.runs import Ask, start
from shared.ledger.reconciliations import Run
from shared.reconciling import Side
from tests.reconciling import LABELS, OSCAR, Programme, named
from tests.rig import Pipeline, member_event


@pytest.fixture
def programme(pipeline: Pipeline) -> Iterator[Programme]:
    pipeline.sandbox.control.set("siebel", auto_members=False)
    programme = Programme(pipeline, {})
    with pipeline.whole():
        programme.sync(*named("fine", 6))
        yield programme


def export(path: Path, *numbers: str, names: dict[str, str]) -> Path:
    """Write what Siebel would export of these members; *names* of some are others."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["Row Id", "Member Number", *LABELS.values(), "CT Sync Status", "CT Sync Error"])
    for number in numbers:
        member = member_event(number)["member"] | {"first_name": names.get(number, "Ann")}
        writer.writerow([member["row_id"], number, *(member[name] for name in LABELS), "Success", ""])
    path.write_text(out.getvalue(), encoding="utf-8")
    return path


def profiles(path: Path, users: list[dict[str, object]]) -> Path:
    """Write CrowdTwist's daily file, as a ZIP."""
    out = io.StringIO()
    columns = ["id", "first_name", "last_name", "email_address", "postal_code", "is_active", "date_last_updated"]
    writer = csv.DictWriter(out, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(users)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("2_7_USER_PROFILE_20261123.csv", out.getvalue())
    return path


def run(programme: Programme, siebel: Path | None = None, crowdtwist: Path | None = None) -> Run:
    if siebel is not None:
        with siebel_file(siebel, programme.of) as given:
            return programme.run(Ask(files={Side.SIEBEL: given}))
    assert crowdtwist is not None
    with crowdtwist_file(crowdtwist) as given:
        return programme.run(Ask(files={Side.CROWDTWIST: given}))


def test_an_export_stands_for_siebel_where_it_cannot_be_asked(programme: Programme, tmp_path: Path) -> None:
    programme.settings = {"siebel": {"base_url": None}}
    whole = [*named("fine", 5), "new-000"]
    found = run(programme, export(tmp_path / "members.csv", *whole, names={"fine-001": "Hanna"}))
    assert (found.state, found.calls["siebel"], found.members["siebel"]) == ("done", 0, 6)
    assert programme.classes(found) == {
        "missed_event": ["fine-001"],
        "never_sent": ["new-000"],
        "orphan": ["fine-005"],  # whoever is not in a whole export is not in Siebel
    }
    assert programme.pipeline.sql("select count(*) from reconciliation_file") in ([0], [1])


def test_an_incremental_export_says_nothing_of_those_who_are_not_in_it(programme: Programme, tmp_path: Path) -> None:
    programme.settings = {"siebel": {"base_url": None}}
    found = run(programme, export(tmp_path / "MEMBER_INCREMENTAL20261123.csv", "fine-001", names={}))
    assert (found.state, programme.classes(found)) == ("done", {})


def test_what_the_export_has_and_siebel_has_no_more_is_no_difference(programme: Programme, tmp_path: Path) -> None:
    found = run(programme, export(tmp_path / "members.csv", *named("fine", 6), names={"fine-001": "Hanna"}))
    assert (found.state, programme.classes(found)) == ("done", {})  # the second look asks Siebel itself


def test_files_of_both_sides_are_enough_where_neither_can_be_asked(programme: Programme, tmp_path: Path) -> None:
    programme.in_crowdtwist("PUT", "fine-002", last_name="Cole")
    users = programme.pipeline.sandbox.control.users()
    programme.settings = {"siebel": {"base_url": None}, "crowdtwist": {"base_url": None}}
    members = export(tmp_path / "members.csv", *named("fine", 5), names={"fine-001": "Hanna"})
    with (
        siebel_file(members, programme.of) as siebel,
        crowdtwist_file(profiles(tmp_path / "2_7_PROFILE_20261123.zip", users)) as crowdtwist,
    ):
        found = programme.run(Ask(files={Side.SIEBEL: siebel, Side.CROWDTWIST: crowdtwist}))
    assert (found.state, found.calls) == ("done", {"siebel": 0, "crowdtwist": 0})
    assert programme.classes(found) == {
        "missed_event": ["fine-001"],
        "changed_at_destination": ["fine-002"],
        "orphan": ["fine-005"],
    }


def test_a_profile_file_finds_what_changed_and_calls_only_to_make_sure(programme: Programme, tmp_path: Path) -> None:
    programme.in_crowdtwist("PUT", "fine-002", last_name="Cole")
    users = programme.pipeline.sandbox.control.users()
    (other,) = (one for one in users if one["third_party_id"] == "fine-004")
    stale = {**other, "last_name": "Older", "date_last_updated": int(time.time()) - 86_400}
    found = run(programme, crowdtwist=profiles(tmp_path / "2_7_PROFILE_20261123.zip", [*users, stale]))
    assert found.state == "done"
    assert programme.classes(found) == {"changed_at_destination": ["fine-002"]}
    assert found.calls["crowdtwist"] == 1


def test_a_file_that_is_none_makes_no_run_and_says_where(programme: Programme, tmp_path: Path) -> None:
    broken = tmp_path / "members.csv"
    broken.write_text("Row Id,Member Number\n1-A,M-1\n", encoding="utf-8")
    with siebel_file(broken, programme.of) as given, pytest.raises(BodyError, match="has no column"):
        start(programme.pipeline.ledger, OSCAR, Ask(files={Side.SIEBEL: given}), programme.of)
    assert programme.pipeline.sql("select state, why from reconciliation") == []
