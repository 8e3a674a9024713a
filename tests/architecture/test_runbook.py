"""Runbook and guides tell only what there is: their commands are understood, alerts exist, links lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml
from starlette.routing import Match

from producers.site import create_app
from shared.settings import Settings
from tests.architecture.test_promises_of_the_house import tracked
from tests.commands import commands_in, parse

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
GUIDES = [ROOT / name for name in tracked() if name.endswith(".md") and not name.startswith("deploy/decisions/")]
NAMED = {tuple(one) for guide in GUIDES for one in commands_in(guide.read_text(encoding="utf-8"))}
COMMANDS = sorted({tuple(one) for one in commands_in(RUNBOOK)} | {one for one in NAMED if len(one) > 1})
"""A guide may speak of a command by its name alone."""
HEADINGS = re.findall(r"^#{2,3} (.+)$", RUNBOOK, re.MULTILINE)
STEPS = 5
PICTURE_MAX = 200_000


def anchor(heading: str) -> str:
    """Return the anchor that a forge makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")


def anchors_of(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#{1,3} (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_the_command_line_understands_every_command(arguments: tuple[str, ...]) -> None:
    command, _ = parse(list(arguments))
    assert command == arguments[0]


def test_a_command_that_does_not_exist_is_noticed() -> None:
    (wrong,) = commands_in("so: `membersync requeue --colour red`")
    with pytest.raises(Exception, match="colour"):
        parse(wrong)


def test_commands_are_found_in_blocks_pipelines_and_sentences() -> None:
    text = (
        "`membersync status`\n\n```sh\nmembersync show 1 --json | jq '.a | .b' | membersync produce - # and so\n```\n"
    )
    assert list(commands_in(text)) == [["show", "1", "--json"], ["produce", "-"], ["status"]]


def test_the_readme_proves_each_connection_by_a_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Connect real systems")[1].split("\n## ")[0]
    systems = re.findall(r"^\*\*(.+?)\*\*.*\n((?:\d\. .*\n?)+)", section, re.MULTILINE)
    assert [name for name, _ in systems] == ["CrowdTwist", "Siebel in", "Siebel out", "OIC remote"]
    for _, lines in systems:
        *_, proof = lines.strip().splitlines()
        assert lines.count("\n") <= STEPS
        assert [parse(command)[0] for command in commands_in(proof)]
    named = set(re.findall(r"`(MEMBERSYNC_\w+)", section))
    known = set(
        re.findall(r"^#? ?(MEMBERSYNC_\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert named <= known


def test_the_picture_of_the_console_is_there_and_small() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    content = (ROOT / picture).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < PICTURE_MAX


def test_every_alert_has_its_section_and_every_section_of_an_alert_an_alert() -> None:
    alerts = {rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]}
    assert {heading for heading in HEADINGS if heading.startswith("Membersync")} == alerts


def test_every_alert_leads_to_its_section() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            page, _, section = rule["annotations"]["runbook_url"].partition("#")
            assert (page, section) == ("deploy/RUNBOOK.md", anchor(rule["alert"]))


def test_the_five_steps_of_the_mission_are_there_in_order() -> None:
    steps = [heading for heading in HEADINGS if re.match(r"\d\. ", heading)]
    assert [step[0] for step in steps] == [str(number + 1) for number in range(STEPS)]


def test_links_within_the_runbook_lead_to_a_section() -> None:
    anchors = {anchor(heading) for heading in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(guide: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)#?([^)]*)\)", guide.read_text(encoding="utf-8"))
    assert [link for link, _ in links if not (guide.parent / link).exists()] == []
    assert [link for link, section in links if section and section not in anchors_of(guide.parent / link)] == []


def test_the_pages_that_it_names_are_pages_of_the_console() -> None:
    routes = create_app(Settings(ledger_url="postgresql://nowhere/none")).router.routes
    named = {page.replace("NUMBER", "1") for page in re.findall(r"`(/[\w/-]*)`", RUNBOOK)}
    assert {"/", "/dead-letters", "/members/1", "/instances/4711"} <= named
    for page in named:
        asked = {"type": "http", "path": page, "method": "GET", "headers": []}
        assert any(route.matches(asked)[0] is Match.FULL for route in routes), page
