"""The comparison: the Celery chain that people write first, written well.

One chain per event, the member in the message, three tasks, prefork, one pooled httpx client per process, no ledger, no
retries.  It does the same calls as membersync does for a new member: one POST to CrowdTwist, one PUT to Siebel.
Run as `celery -A tests.bench.plain worker`; its addresses come from PLAIN_BROKER, PLAIN_CROWDTWIST and PLAIN_SIEBEL.
"""

import os
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx
from celery import Celery, chain

app = Celery("plain", broker=os.environ.get("PLAIN_BROKER", "redis://"))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@cache
def client() -> httpx.Client:
    """Return this process's client."""
    return httpx.Client(timeout=30)


@app.task(name="plain.oic")
def oic(event: dict[str, Any]) -> dict[str, Any]:
    """Map the member."""
    member = event["member"]
    user = {
        "third_party_id": member["member_number"],
        "lang_pref": member["language"],
        "is_active": 1,
        "first_name": member["first_name"],
        "last_name": member["last_name"],
        "email_address": member["email_address"],
        "postal_code": member["postal_code"],
        "gender_id": 2,
    }
    return {"row_id": member["row_id"], "user": user}


@app.task(name="plain.crowdtwist")
def crowdtwist(work: dict[str, Any]) -> str:
    """Create the member in CrowdTwist."""
    url = f"{os.environ['PLAIN_CROWDTWIST']}/v2/users"
    client().post(url, params={"api_key": "sandbox-key"}, json=work["user"]).raise_for_status()
    return str(work["row_id"])


@app.task(name="plain.siebel")
def siebel(row_id: str) -> None:
    """Write the status on the member in Siebel."""
    url = f"{os.environ['PLAIN_SIEBEL']}/siebel/v1.0/data/LOY%20Member/LOY%20Member/{quote(row_id)}"
    status = {"CT Sync Status": "Success", "CT Sync Error": ""}
    client().put(url, json=status, auth=("SADMIN", "SADMIN")).raise_for_status()


def send(event: dict[str, Any]) -> None:
    """Put one event on its way."""
    chain(oic.s(event), crowdtwist.s(), siebel.s()).apply_async()
