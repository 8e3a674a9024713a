"""The scenes of the demo, as they are named and as they say what they change."""

import re

import pytest

from deploy.local.demo import SCENES
from deploy.local.programs import variables
from deploy.local.scene_downtime import outage
from shared.settings import Settings

BY_DEFAULT = dict(variables(Settings.model_construct()))


def test_the_scenes_are_there() -> None:
    assert list(SCENES) == ["outage", "oic", "dead-letter", "overtaken", "drift", "guard", "incident"]


def test_what_a_process_is_handed_is_read_as_it_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {"read_without": ["Childlinks", "sortspec"], "field_names": {"row_id": "Id"}}
    meant = Settings(siebel=lists, ledger_url="postgresql+psycopg://x:y@127.0.0.1/z", crowdtwist={"api_key": "k"})
    for name, value in variables(meant):
        monkeypatch.setenv(name, value)
    assert Settings() == meant


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_plays_with_the_settings_that_it_says_it_changes(name: str) -> None:
    scene = SCENES[name]
    played = dict(variables(scene.settings(Settings.model_construct())))
    said = re.findall(r"(\w+)=(\S+) \((\S+)\)", scene.changed)
    assert {variable for variable, _, _ in said} == {
        one for one in played if number(played[one]) != number(BY_DEFAULT[one])
    }
    for variable, value, default in said:
        assert (number(played[variable]), number(BY_DEFAULT[variable])) == (number(value), number(default)), variable


def test_what_depends_on_the_length_of_an_outage_shrinks_with_it() -> None:
    changed = outage(6.0).changed
    assert "MEMBERSYNC_CROWDTWIST__PROBE_CAP_S=0.4 (60)" in changed
    assert "MEMBERSYNC_SIEBEL__REPORT_AFTER_S=1 (300)" in changed


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def test_what_a_program_is_handed_it_reads_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    given = SCENES["drift"].settings(Settings(_env_file=None))
    for name, value in variables(given):
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None).model_dump() == given.model_dump()
