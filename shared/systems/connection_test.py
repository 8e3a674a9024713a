"""Test one connection as its stage reaches it, once, and say what came of it.

What is found may hold words of the other side: whoever shows it takes people out of it.  The call is paid for out of
the connection's budget like any other.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from shared.errors import OutcomeUnknownError, StageError
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.crowdtwist.client import Client as CrowdTwist
from shared.systems.oic.client import Client as Oic
from shared.systems.permits import Permits
from shared.systems.siebel.client import Client as Siebel

_GRACE_S = 1.0
"""What a test may take beyond its calls' time-out, so that the error that names the cause comes first."""
NOT_CONFIGURED = "not_configured"
BUG = "bug"


class Client(Protocol):
    """What every system's client has."""

    async def test(self) -> None:
        """Test the connection.

        Raises:
            StageError: what is wrong with it.
        """

    async def close(self) -> None:
        """Give the connections back."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test found: *code* and *what* of the error, or None and what was found.  Units: *took_ms* milliseconds."""

    name: str
    ok: bool
    code: str | None
    what: str
    took_ms: float


async def examine(stage: Stage, of: Settings, permits: Permits | None = None) -> Finding:
    """Test the connection of *stage*, within its time-out."""
    if stage is Stage.OIC and of.oic.mode == "builtin":
        return Finding(stage, ok=True, code=None, what="the flow runs here: there is nothing to reach", took_ms=0.0)
    if of.connection(stage).base_url is None:
        what = f"MEMBERSYNC_{stage.upper()}__BASE_URL is not set"
        return Finding(stage, ok=False, code=NOT_CONFIGURED, what=what, took_ms=0.0)
    began = time.perf_counter()
    code, what = await _tried(_client(stage, of, permits), of.connection(stage).timeout_s)
    return Finding(stage, code is None, code, what, round((time.perf_counter() - began) * 1000, 1))


def _client(stage: Stage, of: Settings, permits: Permits | None) -> Client:
    match stage:
        case Stage.OIC:
            return Oic(of.oic, of.siebel, 1, permits)
        case Stage.CROWDTWIST:
            return CrowdTwist(of.crowdtwist, 1, permits)
        case Stage.SIEBEL:
            return Siebel(of.siebel, 1, permits)


async def _tried(client: Client, timeout_s: float) -> tuple[str | None, str]:
    """Return the code and the sentence of what came of it."""
    try:
        async with asyncio.timeout(timeout_s + _GRACE_S):
            await client.test()
    except StageError as error:
        return error.code, str(error)
    except TimeoutError:
        return OutcomeUnknownError.code, f"no answer within {timeout_s:g} s"
    except Exception as error:  # noqa: BLE001  # a bug's message may carry a secret: its kind is enough
        return BUG, f"the test itself failed ({type(error).__name__})"
    finally:
        await client.close()
    return None, "it answers, and takes our credentials"
