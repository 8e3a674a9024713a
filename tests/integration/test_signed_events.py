"""Events of a sender that must sign them: its key, its body and its hour, or nothing is taken in."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from hmac import HMAC

import httpx
import pytest
from sqlalchemy import Engine

from producers.site import create_app
from shared.settings import Settings
from tests.calling import assert_problem, event, outcomes, served, stored

OLD, NEW = "k-old-0123456789-0123456789", "k-new-0123456789-0123456789"
BODY = json.dumps(event()).encode()
TOKENS = {
    "p-token": {"name": "siebel", "role": "producer"},
    "q-token": {"name": "files", "role": "producer"},
}


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    intake = {"signing_keys": {"siebel": [OLD, NEW]}, "signed_within_s": 60}
    of = Settings.model_validate({"ledger_url": ledger_url, "api": {"tokens": TOKENS}, "intake": intake})
    with served(create_app(of)) as one:
        yield one


def signed(key: str, body: bytes = BODY, *, age_s: float = 0, message_id: str = "m-1") -> dict[str, str]:
    at = str(int(time.time() - age_s))
    made = b64encode(HMAC(key.encode(), f"{message_id}.{at}.".encode() + body, sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": f"v1,{made}"}


def sent(client: httpx.Client, headers: dict[str, str], body: bytes = BODY, as_: str = "p") -> httpx.Response:
    headers = {"Authorization": f"Bearer {as_}-token", "Content-Type": "application/json", **headers}
    return client.post("/v1/member-events", content=body, headers=headers)


def test_what_is_signed_with_either_key_is_taken_in_and_once(client: httpx.Client, ledger: Engine) -> None:
    first = signed(NEW)
    assert outcomes(sent(client, first)) == ["accepted"]
    assert outcomes(sent(client, first)) == ["duplicate"]
    both = signed(OLD, message_id="m-2") | {"webhook-id": "m-2"}
    both["webhook-signature"] = f"v2,later v1,AAAA {both['webhook-signature']}"
    assert outcomes(sent(client, both)) == ["duplicate"]
    assert stored(ledger) == 1


def test_what_is_not_signed_by_its_sender_just_now_is_refused_by_the_header_that_is_wrong(
    client: httpx.Client, ledger: Engine
) -> None:
    good = signed(NEW)
    bad = {
        "webhook-id: ": [{}, good | {"webhook-id": ""}, good | {"webhook-id": "x" * 257}],
        "webhook-timestamp: ": [
            {"webhook-id": "m-1"},
            good | {"webhook-timestamp": "soon"},
            good | {"webhook-timestamp": "9" * 400},
            good | {"webhook-timestamp": "-5"},
            signed(NEW, age_s=75),
            signed(NEW, age_s=-75),
        ],
        "webhook-signature: ": [
            good | {"webhook-signature": ""},
            good | {"webhook-signature": "v1,"},
            good | {"webhook-signature": good["webhook-signature"].swapcase()},
            good | {"webhook-id": "m-2"},
            good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)},
            signed("k-wrong-0123456789-0123456789"),
            signed(NEW, BODY + b" "),
        ],
    }
    for header, some in bad.items():
        for headers in some:
            answer = sent(client, headers)
            assert_problem(answer, 401, "bad_signature")
            assert answer.json()["detail"].startswith(header), headers
            assert NEW not in answer.text
    assert stored(ledger) == 0


def test_who_need_not_sign_is_not_asked_to(client: httpx.Client) -> None:
    assert outcomes(sent(client, {}, as_="q")) == ["accepted"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"nobody": [NEW]}, "TOKENS: nobody"),
        ({"siebel": []}, "each key of 24"),
        ({"siebel": ["short"]}, "each key of 24"),
        ({"siebel": NEW}, "each key of 24"),
    ],
)
def test_keys_of_nobody_and_keys_that_could_be_tried_are_refused(keys: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        Settings.model_validate({"api": {"tokens": TOKENS}, "intake": {"signing_keys": keys}})
    assert NEW not in str(error.value)
