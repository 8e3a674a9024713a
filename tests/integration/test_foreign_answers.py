"""Whatever answers in an api's place: `produce` and `replay` say what came, count nothing of it as taken, and fail."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deploy.siebel.recording import Message, Recording
from tests.terminal import EVENT, Terminal

HTML = (("Content-Type", "text/html; charset=utf-8"),)
JSON = (("Content-Type", "application/json"),)
PAGE = b"<html><title>Log in</title></html>"
Answer = tuple[int, tuple[tuple[str, str], ...], bytes]


def results(*outcomes: str, **more: object) -> bytes:
    return json.dumps({"results": [{"position": 0, "outcome": one, **more} for one in outcomes]}).encode()


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """Answer one after the other, the last one from then on; give the address."""
    left = list(answers)

    class Foreign(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in (*headers, ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


FOREIGN: dict[str, tuple[Answer, str]] = {
    "a page": ((200, HTML, PAGE), "200 OK with 34 bytes of text/html, which have no results of events"),
    "a page, as if taken": ((202, HTML, PAGE), "202 Accepted with 34 bytes of text/html"),
    "a page, as if refused": ((422, HTML, PAGE), "422 Unprocessable"),
    "nothing": ((202, (), b""), "202 Accepted with an empty body"),
    "a list": ((202, JSON, b"[]"), "202 Accepted with 2 bytes of application/json"),
    "a word": ((200, JSON, b'"ok"'), "200 OK with 4 bytes of application/json"),
    "no results": ((202, JSON, b'{"status": "ok"}'), "202 Accepted with 16 bytes of application/json"),
    "results that are none": ((202, JSON, b'{"results": {"0": "accepted"}}'), "which have no results of events"),
    "results of words": ((202, JSON, b'{"results": ["accepted"]}'), "which have no results of events"),
    "an outcome of its own": ((202, JSON, results("stored")), "which have no results of events"),
    "a field that is none": ((202, JSON, results("refused", field=["a"])), "which have no results of events"),
    "too few results": ((202, JSON, results()), "202 Accepted with results of 0"),
    "too many results": ((202, JSON, results("accepted", "accepted")), "202 Accepted with results of 2"),
    "another's refusal": ((422, JSON, b'{"detail": [{"msg": "field required"}]}'), "422 Unprocessable"),
    "deep": ((202, JSON, b"[" * 100_000), "202 Accepted with 100000 bytes of application/json"),
    "no text": ((202, JSON, b"\xff\xfe\x00"), "202 Accepted with 3 bytes of application/json"),
    "packed, and not": ((202, (*JSON, ("Content-Encoding", "gzip")), b"{}"), "what cannot be unpacked"),
    "a redirect": (
        (302, (("Location", "https://login.example/in?token=s3cret"),), b""),
        "302 Found, a redirect to https://login.example/in",
    ),
    "a redirect to nowhere": ((307, (("Location", "/login"),), b""), "307 Temporary Redirect, a redirect"),
}


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.json"
    file.write_text(json.dumps(EVENT))
    return file


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_answer_of_an_api_is_said_and_nothing_is_taken_for_in(
    bare: Terminal, events: Path, name: str
) -> None:
    answer, said = FOREIGN[name]
    with answering(answer) as url:
        ran = bare("produce", events, "--api", url)
    words = " ".join(ran.err.split())
    assert (ran.code, ran.out) == (2, "")
    assert f"{url} is no api of membersync: to POST /v1/member-events with 1 event it answered" in words
    assert said in words
    assert "Up to then: no events" in words
    assert "run the same again: what is in already is a duplicate" in words
    assert "s3cret" not in words


def test_how_far_it_came_is_said(bare: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "many.ndjson"
    file.write_text("\n".join(json.dumps(EVENT | {"event_id": f"E-{number}"}) for number in range(1_500)))
    with answering((202, JSON, results(*["accepted"] * 1_000)), (200, HTML, PAGE)) as url:
        ran = bare("produce", file, "--api", url)
    assert ran.code == 2
    assert "with 500 events it answered 200 OK" in " ".join(ran.err.split())
    assert "Up to then: 1000 accepted" in " ".join(ran.err.split())


def test_an_api_that_refuses_is_said_in_its_words(bare: Terminal, events: Path) -> None:
    with answering((401, JSON, b'{"detail": "the token is not known"}')) as url:
        ran = bare("produce", events, "--api", url, "--token", "t")
    assert ran.code == 2
    assert "refuses: 401 Unauthorized: the token is not known" in " ".join(ran.err.split())


@pytest.mark.parametrize("name", FOREIGN)
def test_a_replay_of_what_nobody_took_is_not_done(bare: Terminal, tmp_path: Path, name: str) -> None:
    file = tmp_path / "day.jsonl"
    recording = Recording(file, datetime.now(UTC), 1_000_000, None)
    recording.keep(Message(0.0, "", "application/json", b"{}"))
    recording.close()
    with answering((202, JSON, results("accepted"))) as url:
        taken = bare("replay", file, "--api", url, "--json")
    with answering(FOREIGN[name][0]) as url:
        ran = bare("replay", file, "--api", url, "--json")
    assert (taken.code, taken.json["foreign"]) == (0, 0)
    is_result = name in {"too few results", "too many results"}  # a message may have any number of events
    assert ran.code == (0 if is_result else 1)
    assert is_result or not ran.json["events"]
