"""What the kit tells a Siebel administrator to send has the answers it says; a recorded day comes to the same again."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from deploy.siebel.pseudonyms import Pseudonyms
from deploy.siebel.recorder import recorder
from deploy.siebel.recording import Recording, messages
from deploy.siebel.replay import Pace, replayed, sender
from producers.cli import main
from producers.site import create_app
from shared.settings import Settings
from tests.calling import outcomes, served, stored

KIT = Path(__file__).parents[2] / "deploy" / "siebel"
STEPS = re.findall(
    r"^\| `(samples/\S+)` \| (\d+) \| `(\w+)` \|$", (KIT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)
OF = Settings.model_validate({"api": {"max_body_bytes": 100_000}})
TOKEN = {"Authorization": "Bearer p-token"}


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    tokens = {"p-token": {"name": "siebel", "role": "producer"}}
    of = Settings.model_validate({"ledger_url": ledger_url, "api": {"tokens": tokens}})
    with served(create_app(of)) as one:
        one.headers.update(TOKEN)
        yield one


def kind_of(sample: str) -> dict[str, str]:
    return {"Content-Type": "application/xml" if sample.endswith(".xml") else "application/json"}


def test_a_day_in_front_of_the_api_has_the_promised_answers_and_the_same_as_a_load(
    client: httpx.Client, ledger: Engine, tmp_path: Path
) -> None:
    assert {sample for sample, _, _ in STEPS} == {f"samples/{one.name}" for one in (KIT / "samples").iterdir()}
    day = tmp_path / "day.ndjson"
    recording = Recording(day, datetime.now(UTC), 1_000_000, Pseudonyms())
    with served(recorder(recording, client, OF)) as siebel:
        siebel.headers.update(TOKEN)
        for sample, status, outcome in STEPS:
            answer = siebel.post("/v1/member-events", content=(KIT / sample).read_bytes(), headers=kind_of(sample))
            assert (answer.status_code, outcomes(answer)) == (int(status), [outcome]), sample
            assert answer.headers["x-request-id"]
        assert siebel.post("/v1/member-events", content=b"{", headers=kind_of(".json")).status_code == 400
        assert siebel.post("/v1/member-events", content=b" " * 100_001).status_code == 413
        without = siebel.post("/v1/member-events", content=b"{}", headers={**kind_of(".json"), "Authorization": ""})
        assert without.status_code == 401
    recording.close()
    assert (recording.written, recording.unreadable) == (len(STEPS) + 1, 1)
    kept = day.read_text(encoding="utf-8")
    assert not [one for one in ("Okafor", "Rossi", "grace.o", "296-90", "p-token") if one in kept]
    before = stored(ledger)
    report = replayed(list(messages(BytesIO(day.read_bytes())))[:-1], sender(client), Pace(speed=1000, at_once=1))
    assert report.is_taken
    assert report.outcomes == {name: [said for _, _, said in STEPS].count(name) for name in ("accepted", "duplicate")}
    assert stored(ledger) == 2 * before


def test_an_api_that_is_away_is_said_and_the_message_kept(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "day.ndjson", datetime.now(UTC), 1_000_000, None)
    away = httpx.Client(transport=httpx.MockTransport(_refuse), base_url="http://api")
    with served(recorder(recording, away, OF)) as siebel:
        answer = siebel.post("/v1/member-events", content=b"{}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    with served(recorder(recording, None, OF)) as siebel:
        assert siebel.post("/v1/member-events?lane=bulk", content=b"{}").json() == {"results": []}
    recording.close()
    assert [one.lane for one in messages(BytesIO((tmp_path / "day.ndjson").read_bytes()))] == ["", "bulk"]


def _refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("away", request=request)


def test_the_command_says_what_came_of_a_replay(
    client: httpx.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = tmp_path / "day.ndjson"
    recording = Recording(day, datetime.now(UTC), 1_000_000, None)
    with served(recorder(recording, None, OF)) as siebel:
        siebel.post("/v1/member-events", content=(KIT / STEPS[0][0]).read_bytes(), headers=kind_of(STEPS[0][0]))
    recording.close()
    api = str(client.base_url)
    for typed, code, said in (
        (["replay", str(day), "--api", api, "--token", "p-token"], 0, "accepted 1"),
        (["replay", str(day), "--api", api, "--token", "p-token", "--pseudonymise", "--json"], 0, '"accepted": 1'),
        (["replay", str(day), "--api", api, "--token", "wrong"], 1, "401 1"),
        (["replay", str(KIT / "README.md"), "--api", api], 2, "line 1"),
        (["replay", str(tmp_path / "none"), "--api", api], 2, "cannot be read"),
        (["record", str(day)], 2, "cannot be written"),
        (["openapi", "--siebel", "event", "--url", "https://there/"], 0, '"https://there"'),
        (["openapi", "--siebel", "event", "--url", "there"], 2, "--url must"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(typed)
        shown = capsys.readouterr()
        assert ended.value.code == code, (typed, shown)
        assert said in shown.out + shown.err
