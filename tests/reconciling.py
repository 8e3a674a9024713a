"""A small programme for tests of reconciliation: members that are in sync everywhere, and ways to spoil them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from producers.operations.job_control import Operator
from producers.operations.reconcile.process import carry_on
from producers.operations.reconcile.runs import Ask, read, start
from shared.ledger import reconciliations
from shared.ledger.engine import transaction
from shared.ledger.reconciliations import Difference, Run
from shared.settings import Settings
from tests.rig import Pipeline, eventually, member_event

OSCAR = Operator("oscar", "operator")
LABELS = {
    "status": "Status",
    "first_name": "Contact First Name",
    "last_name": "Contact Last Name",
    "email_address": "Email Address",
    "postal_code": "Primary Postal Code",
    "country_code": "Primary Country Code",
}


@dataclass
class Programme:
    """Siebel, CrowdTwist and ledger of one pipeline."""

    pipeline: Pipeline
    settings: dict[str, Any]

    @property
    def of(self) -> Settings:
        sandbox = self.pipeline.sandbox
        known: dict[str, Any] = {
            "ledger_url": self.pipeline.ledger_url,
            "crowdtwist": {"base_url": sandbox.crowdtwist, "api_key": "sandbox-key", "budget_per_minute": 60_000},
            "siebel": {"base_url": sandbox.siebel, "username": "SADMIN", "password": "SADMIN"},
            "reconcile": {"share": 1.0, "settle_s": 0.2},
        }
        for name, more in self.settings.items():
            known[name] = {**known.get(name, {}), **more} if isinstance(more, dict) else more
        return Settings(_env_file=None, **known)

    def seed(self, *numbers: str, **changes: str) -> None:
        """Let Siebel have these members, each as `member_event` says with *changes*."""
        self.pipeline.sandbox.control.seed(*(row_of(number, **changes) for number in numbers))

    def sync(self, *numbers: str) -> None:
        """Let Siebel have these members and bring them to CrowdTwist and back; the pipeline must be running."""
        self.seed(*numbers)
        self.send(*numbers)

    def send(self, *numbers: str, minute: int = 0, **changes: str) -> None:
        for start_ in range(0, len(numbers), 500):
            some = numbers[start_ : start_ + 500]
            self.pipeline.send(*(member_event(number, minute, **changes) for number in some))
        eventually(self.pipeline.settled, "in sync")

    def in_crowdtwist(self, method: str, number: str, **fields: object) -> None:
        """Do something to a user as somebody else would."""
        url = f"{self.pipeline.sandbox.crowdtwist}/v2/users/{number}?id_type=third_party_id&api_key=sandbox-key"
        httpx.request(method, url, json=fields).raise_for_status()

    def rows(self) -> list[dict[str, Any]]:
        """Return Siebel's first page, as it answers it."""
        url = f"{self.pipeline.sandbox.siebel}/siebel/v1.0/data/LOY Member/LOY Member"
        query = {"searchspec": "([Id] > '0')", "PageSize": "100", "ViewMode": "All", "sortspec": "Id:asc"}
        answer = httpx.get(url, params=query, auth=("SADMIN", "SADMIN"))
        return list(answer.raise_for_status().json()["items"])

    def run(self, ask: Ask | None = None, *, patience_s: float = 5) -> Run:
        """Make a run and carry it to its end here."""
        made = start(self.pipeline.ledger, OSCAR, ask or Ask(full=True), self.of)
        return self.carried(made.id, patience_s=patience_s)

    def carried(self, run_id: str, *, patience_s: float = 5) -> Run:
        """Return a run that has ended: carried on here, or by the dispatcher that runs."""

        def is_over() -> bool:
            carry_on(self.of, patience_s=patience_s)
            found = read(self.pipeline.ledger, int(run_id))
            return found is not None and found.over

        eventually(is_over, "the run to end")
        found = read(self.pipeline.ledger, int(run_id))
        assert found is not None
        return found

    def differences(self, run: Run) -> list[Difference]:
        with transaction(self.pipeline.ledger) as tx:
            return reconciliations.differences(tx, int(run.id), limit=10_000).items

    def classes(self, run: Run) -> dict[str, list[str]]:
        """Return the members of each class."""
        found: dict[str, list[str]] = {}
        for one in self.differences(run):
            found.setdefault(one.drift_class, []).append(one.member_number)
        return {name: sorted(numbers) for name, numbers in found.items()}

    def rolled_back(self, number: str, **fields: object) -> None:
        """Let a user be as it was an hour ago."""
        hour_ago = int(time.time()) - 3600
        self.pipeline.sandbox.control.plant({"third_party_id": number, **fields, "date_last_updated": hour_ago})


def row_of(number: str, **changes: str) -> dict[str, str]:
    """Return a member as Siebel has it; *changes* by our names."""
    member = member_event(number, 0, **changes)["member"]
    fields = {LABELS[name]: str(value) for name, value in member.items() if name in LABELS}
    return {"member_number": number, "row_id": str(member["row_id"]), **fields}


def named(kind: str, count: int) -> Sequence[str]:
    return [f"{kind}-{place:03}" for place in range(count)]
