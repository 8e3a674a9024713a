"""Open the client of a stage's system: the one place that chooses it; and test a connection once.

What a test finds may hold words of the other side: whoever shows it takes people out of it.  Its call is paid for out
of the connection's budget like any other.
"""

import asyncio
import time
from dataclasses import dataclass

from shared.errors import OutcomeUnknownError, StageError
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.crowdtwist import CrowdTwist
from shared.systems.oic import Oic
from shared.systems.permits import Permits
from shared.systems.siebel import Siebel

_GRACE_S = 1.0
"""What a test may take beyond its calls' time-out, so that the error that names the cause comes first."""


def open_client(
    stage: Stage, of: Settings, calls_in_flight: int, permits: Permits | None = None
) -> Oic | CrowdTwist | Siebel | None:
    """Return the client of *stage*, None where the flow runs here and there is nothing to reach.

    Shape: *permits* is the connection's budget, None: it has no limit.  Nothing is open before its first call.
    """
    match stage:
        case Stage.OIC if of.oic.mode == "builtin":
            return None
        case Stage.OIC:
            return Oic(of.oic, of.siebel, calls_in_flight, permits)
        case Stage.CROWDTWIST:
            return CrowdTwist(of.crowdtwist, calls_in_flight, permits)
        case Stage.SIEBEL:
            return Siebel(of.siebel, calls_in_flight, permits)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test found: *code* and *what* of the error, or None and what was found.  Units: *took_ms* milliseconds."""

    name: str
    ok: bool
    code: str | None
    what: str
    took_ms: float


async def examine(stage: Stage, of: Settings, permits: Permits | None = None) -> Finding:
    """Test the connection of *stage* as its stage reaches it, within its time-out."""
    client = open_client(stage, of, 1, permits)
    if client is None:
        return Finding(stage, ok=True, code=None, what="the flow runs here: there is nothing to reach", took_ms=0.0)
    if of.connection(stage).base_url is None:
        what = f"MEMBERSYNC_{stage.upper()}__BASE_URL is not set"
        return Finding(stage, ok=False, code="not_configured", what=what, took_ms=0.0)
    timeout_s = of.connection(stage).timeout_s
    code: str | None = None
    what = "it answers, and takes our credentials"
    began = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s + _GRACE_S):
            await client.test()
    except StageError as error:
        code, what = error.code, str(error)
    except TimeoutError:
        code, what = OutcomeUnknownError.code, f"no answer within {timeout_s:g} s"
    except Exception as error:  # noqa: BLE001  # a bug's message may carry a secret: its kind is enough
        code, what = "bug", f"the test itself failed ({type(error).__name__})"
    finally:
        await client.close()
    return Finding(stage, code is None, code, what, round((time.perf_counter() - began) * 1000, 1))
