"""The work that every contestant does with one event: map the member, POST the user, PUT the status.

The mapping is the OIC flow's for a member of the US, written as one writes it without a product around it; there are
exactly two calls, over kept-alive connections.  This module is for processes and threads, whose users take a pooled
`httpx.Client`; `work_async` is the same for event loops.  An error is raised: what becomes of it is the queue's affair.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

TIMEOUT_S = 30.0
API_KEY = {"api_key": "sandbox-key"}
SIEBEL_LOGIN = ("SADMIN", "SADMIN")
STATUS = {"CT Sync Status": "Success", "CT Sync Error": ""}
_GENDER_IDS = {"F": 1, "M": 2}


def user_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CrowdTwist user of *event*."""
    member = event["member"]
    user = {
        "third_party_id": member["member_number"],
        "lang_pref": member["language"],
        "is_active": int(member["status"] == "Active"),
        "first_name": member["first_name"],
        "last_name": member["last_name"],
        "middle_name": member["middle_name"],
        "date_of_birth": int(datetime.fromisoformat(member["date_of_birth"]).replace(tzinfo=UTC).timestamp()),
        "email_address": member["email_address"],
        "gender_id": _GENDER_IDS[member["gender"]],
        "postal_code": member["postal_code"],
    }
    return {name: value for name, value in user.items() if value != ""}


def postgres_dsn() -> str:
    """Return BENCH_POSTGRES_URL as libpq reads it, without SQLAlchemy's name of a driver."""
    return os.environ["BENCH_POSTGRES_URL"].replace("postgresql+psycopg:", "postgresql:")


def users_url() -> str:
    """Return where a user is created."""
    return f"{os.environ['BENCH_CROWDTWIST_URL']}/v2/users"


def member_url(row_id: str) -> str:
    """Return where the status of the member with *row_id* is written."""
    return f"{os.environ['BENCH_SIEBEL_URL']}/siebel/v1.0/data/LOY%20Member/LOY%20Member/{quote(row_id, safe='')}"


@cache
def client() -> httpx.Client:
    """Return this process's client; threads share it."""
    return httpx.Client(timeout=TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=None))


def create_user(user: Mapping[str, Any]) -> None:
    """POST *user* to CrowdTwist."""
    client().post(users_url(), params=API_KEY, json=user).raise_for_status()


def write_status(row_id: str) -> None:
    """PUT the status on the member in Siebel."""
    client().put(member_url(row_id), json=STATUS, auth=SIEBEL_LOGIN).raise_for_status()


def deliver(event: Mapping[str, Any]) -> None:
    """Do the three stages of one event."""
    create_user(user_of(event))
    write_status(event["member"]["row_id"])
