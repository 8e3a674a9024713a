"""Stage 1 of 3: the OIC member sync flow, run here (`builtin`) or in Oracle Integration (`remote`).

Both map each member to its CrowdTwist user: fact `user`, and `oic_instance_id` where OIC gave one.
Source: domain.md 1.5 and 2.3 (the flow, in `shared.systems.oic`).
"""

from collections.abc import Sequence
from functools import partial

from shared.errors import DataError, StageError
from shared.instances import Done, Failed, Result, Work
from shared.personal import values_of
from shared.settings import OicSettings
from shared.systems.oic import Oic, map_member


class BuiltinOic:
    """The flow, run here: no system outside is needed."""

    group = 1000
    client = None

    def __init__(self, settings: OicSettings) -> None:
        self._settings = settings

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Map each member."""
        results: list[Result] = []
        for work in works:
            try:
                user = map_member(work.event, self._settings)
                results.append(Done("mapped to a CrowdTwist user", {"user": user}))
            except DataError as error:
                results.append(Failed(error))
        return results


class RemoteOic:
    """The flow, run by Oracle Integration behind its REST trigger."""

    group = 1

    def __init__(self, client: Oic) -> None:
        self.client = client

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Let OIC map each member, one after the other."""
        results: list[Result] = []
        for work in works:
            exchange = self.client.exchange(personal=partial(values_of, work.event.get("member")))
            message_id = str(work.event.get("event_id") or work.instance_id)
            try:
                mapped = await self.client.map(exchange, work.event, message_id)
                facts = {} if mapped.instance_id is None else {"oic_instance_id": mapped.instance_id}
                results.append(exchange.done("mapped by OIC to a CrowdTwist user", user=mapped.user, **facts))
            except StageError as error:
                if isinstance(error, DataError) and work.operation == "delete":
                    inactive = {"third_party_id": work.member_number, "is_active": 0}  # needs nothing of the mapping
                    results.append(exchange.done("cannot be mapped, and need not be", user=inactive))
                else:
                    results.append(exchange.failed(error))
        return results
