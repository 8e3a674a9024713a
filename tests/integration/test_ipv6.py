"""Everything of ours on an IPv6 address: what listens there, what calls it, and every URL that is printed."""

import dataclasses
import json
import signal
import socket
from pathlib import Path

import httpx
from sqlalchemy import Engine

from deploy.local.programs import free_port
from deploy.sandbox.server import running_sandbox
from tests.console import logged_in, post
from tests.mailbox import Mailbox, mail_server
from tests.mailing import deliver, goes_down, mailer, unsent
from tests.network import port_of_v6
from tests.rig import Pipeline, eventually, member_event
from tests.road import Road
from tests.terminal import EVENT, eventually_answers, running

TOKENS = json.dumps({"t": {"name": "ada", "role": "admin"}})


def test_the_api_and_who_calls_it(ledger: Engine, ledger_url: str, tmp_path: Path) -> None:
    assert ledger.url.database
    port = port_of_v6()
    url = f"http://[::1]:{port}"
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(EVENT), encoding="utf-8")
    given = {"MEMBERSYNC_LEDGER_URL": ledger_url, "MEMBERSYNC_API__TOKENS": TOKENS}
    with running("api", "--host", "[::1]", "--port", str(port), **given):
        eventually_answers(f"{url}/readyz")
        with running("produce", str(file), "--api", f"{url}/", "--token", "t", **given) as produce:
            out, err = produce.communicate(timeout=60)
        assert (produce.returncode, out.strip()) == (0, "1 accepted"), err
        with httpx.Client(base_url=url, trust_env=False, headers={"Accept": "text/html", "Origin": url}) as browser:
            logged_in(browser, "t")
            assert post(browser, "/", "/logout").headers["location"] == "/login"
            browser.headers["Origin"] = f"http://[::2]:{port}"
            assert "another site" in post(browser, "/login", "/login", token="t").text


def test_without_tokens_it_answers_to_its_bracketed_name(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    port = port_of_v6()
    url = f"http://[::1]:{port}"
    with running("api", MEMBERSYNC_LEDGER_URL=ledger_url, MEMBERSYNC_API__HOST="::1", MEMBERSYNC_API__PORT=str(port)):
        eventually_answers(f"{url}/readyz")
        answers = [
            httpx.get(f"{url}/v1/instances", headers=headers, trust_env=False).status_code
            for headers in ({}, {"Origin": url}, {"Origin": "http://[::2]"}, {"Host": "[2001:db8::1]"})
        ]
    assert answers == [200, 200, 403, 403]


def test_the_dispatchers_metrics(ledger: Engine, ledger_url: str, broker_url: str) -> None:
    assert ledger.url.database
    port = port_of_v6()
    given = {
        "MEMBERSYNC_LEDGER_URL": ledger_url,
        "MEMBERSYNC_BROKER_URL": broker_url,
        "MEMBERSYNC_DISPATCHER__METRICS_HOST": "[::1]",
        "MEMBERSYNC_DISPATCHER__METRICS_PORT": str(port),
    }
    with running("dispatcher", **given) as dispatcher:
        eventually_answers(f"http://[::1]:{port}/metrics")
        with running("dispatcher", **given) as second:
            _, said = second.communicate(timeout=60)
        assert f"metrics cannot be served at http://[::1]:{port}: " in said
        dispatcher.send_signal(signal.SIGTERM)
        dispatcher.communicate(timeout=30)
    assert dispatcher.returncode == 0


def test_a_member_goes_through_systems_that_are_there(pipeline: Pipeline) -> None:
    port_of_v6()
    with running_sandbox(host="[::1]") as sandbox:
        assert sandbox.siebel.startswith("http://[::1]:")
        here = dataclasses.replace(pipeline, sandbox=sandbox)
        here.settings["MEMBERSYNC_OIC__MODE"] = "remote"
        here.settings["MEMBERSYNC_OIC__TOKEN_URL"] = f"{sandbox.oic}/oauth2/v1/token"
        here.settings |= {"MEMBERSYNC_OIC__CLIENT_ID": "membersync", "MEMBERSYNC_OIC__CLIENT_SECRET": "secret"}
        with here.whole():
            here.send(member_event("V6-1"))
            eventually(here.settled, "it is through")
        assert here.states() == {"completed": 1}
        assert (sandbox.control.member("V6-1") or {})["status"] == "Success"


def test_a_mail_server(ledger: Engine) -> None:
    road, mailbox = Road(ledger), Mailbox(port_of_v6(), host="[::1]")
    one = mailer(road, mailbox)
    goes_down(road)
    with mail_server(mailbox):
        deliver(one)
    assert len(mailbox.mails) == 1
    assert unsent(road) == []


def test_a_port_is_free_where_it_is_meant() -> None:
    port = port_of_v6()
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        assert free_port(port, "::1") != port
        assert free_port(port) == port
