"""An api that is really served, what callers send to it, and what they expect of an answer."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, text

from producers.site import served_as
from tests.network import TRUSTS_NOBODY

LOCAL = "http://127.0.0.1"
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml"}

SAMPLE_EVENTS = """\
{"event_id": "1-4XYZ-1", "operation": "enroll", "occurred_at": "2026-11-23T08:51:00Z", "modification": 0, "member": {"member_number": "296-180296399", "row_id": "1-2AB3", "program_id": "1-PROG", "member_type": "Individual", "status": "Active", "language": "en", "first_name": "Andy", "last_name": "Cole", "middle_name": "", "date_of_birth": "1979-11-29", "email_address": "andy.cole@example.org", "postal_code": "10010", "city": "New York", "country_code": "US", "gender": "M"}}
{"event_id": "1-4XYZ-2", "operation": "delete", "occurred_at": "2026-11-23T09:00:00Z", "modification": 1, "member": {"member_number": "296-180296399", "row_id": "1-2AB3", "program_id": "1-PROG", "member_type": "Individual", "status": "Inactive", "first_name": "Andy", "last_name": "Cole", "email_address": "andy.cole@example.org", "postal_code": "10010", "country_code": "US"}}
"""  # noqa: E501  # as Siebel's administrators got it
SAMPLE_JSON = """\
{"SiebelMessage": {"MessageId": "1-4XYZ", "MessageType": "Integration Object", "IntObjectName": "CT LOY Member", "IntObjectFormat": "Siebel Hierarchical",
  "ListOfCT LOY Member": {"LOY Member": [
    {"Operation": "update", "Id": "1-2AB3", "Mod Id": "7", "Updated": "11/23/2026 08:51:00", "Member Number": "296-180296399", "Program Id": "1-PROG", "Member Type": "Individual",
     "Status": "Active", "Language": "en",
     "ListOfContact": {"Contact": [
       {"Contact First Name": "Andy", "Contact Last Name": "Cole", "Contact Middle Name": "", "Date of Birth": "11/29/1979", "Email Address": "andy.cole@example.org",
        "Primary Postal Code": "10010", "Primary City": "New York", "Primary Country Code": "US", "M/F": "M"}]}}]}}}
"""  # noqa: E501  # as Siebel's administrators got it
SAMPLE_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<SiebelMessage MessageId="1-4XYZ" MessageType="Integration Object" IntObjectName="CT LOY Member" IntObjectFormat="Siebel Hierarchical">
  <ListOfCT_spcLOY_spcMember>
    <LOY_spcMember Operation="update">
      <Id>1-2AB3</Id>
      <Mod_spcId>7</Mod_spcId>
      <Updated>11/23/2026 08:51:00</Updated>
      <Member_spcNumber>296-180296399</Member_spcNumber>
      <Program_spcId>1-PROG</Program_spcId>
      <Member_spcType>Individual</Member_spcType>
      <Status>Active</Status>
      <Language>en</Language>
      <ListOfContact>
        <Contact>
          <Contact_spcFirst_spcName>Andy</Contact_spcFirst_spcName>
          <Contact_spcLast_spcName>Cole</Contact_spcLast_spcName>
          <Contact_spcMiddle_spcName/>
          <Date_spcof_spcBirth>11/29/1979</Date_spcof_spcBirth>
          <Email_spcAddress>andy.cole@example.org</Email_spcAddress>
          <Primary_spcPostal_spcCode>10010</Primary_spcPostal_spcCode>
          <Primary_spcCity>New York</Primary_spcCity>
          <Primary_spcCountry_spcCode>US</Primary_spcCountry_spcCode>
          <M_slhF>M</M_slhF>
        </Contact>
      </ListOfContact>
    </LOY_spcMember>
  </ListOfCT_spcLOY_spcMember>
</SiebelMessage>
"""  # noqa: E501  # as Siebel's administrators got it
SAMPLE_XML_UNESCAPED = SAMPLE_XML.replace("_spc", "").replace("_slh", "")


def event(number: str = "M-1", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    member = {"member_number": number, "first_name": "Ann", "last_name": "Lee", "email_address": "ann.lee@example.org"}
    member |= changes.pop("member", {})
    return {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z", "member": member, **changes}


def lines(*events: object) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in events)


def outcomes(answer: httpx.Response) -> list[str]:
    return [result["outcome"] for result in answer.json()["results"]]


def stored(ledger: Engine) -> int:
    with ledger.connect() as tx:
        return int(tx.execute(text("select count(*) from instance")).scalar_one())


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    assert (problem["status"], problem["code"]) == (status, code)
    assert answer.headers["x-request-id"]


class _Server(uvicorn.Server):
    """Ends at once: uvicorn's own looks ten times a second whether it shall, which hundreds of tests would wait for."""

    async def main_loop(self) -> None:
        """Serve until it is told to end."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; uvicorn's own way waits a tenth of a second for those who are connected, even when nobody is."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
            await server.wait_closed()
        await self.lifespan.shutdown()


@contextmanager
def served(app: FastAPI, host: str | None = None) -> Iterator[httpx.Client]:
    """Serve *app* as `membersync api` does, and give a client of it that calls it *host*."""
    server = _Server(served_as(app))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    client = httpx.Client(
        base_url=f"{LOCAL}:{port}",
        headers={"Host": host} if host else {},
        timeout=60,
        trust_env=False,
        verify=TRUSTS_NOBODY,
    )
    try:
        with client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
