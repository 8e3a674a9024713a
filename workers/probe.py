"""`python -m workers.probe NAME`: test one connection as its stage does, once, and say what came of it.

Shape: one JSON object on standard output, `{"name", "ok", "code", "what", "took_ms"}`: *code* and *what* of the error,
or null and what was found.  Nothing that was sent or answered is in it.  The call is paid for out of the connection's
budget like any other.  A process of its own, because who wants to know (`producers`) may not import workers.
"""

import asyncio
import sys
import time
from dataclasses import asdict, dataclass

import orjson

from shared.errors import OutcomeUnknownError, StageError
from shared.masking import mask_text
from shared.pipeline import Stage
from shared.settings import Settings, settings
from workers.budgets import permits
from workers.stages import build_one

_GRACE_S = 1.0
"""What a test may take beyond its calls' time-out, so that the error that names the cause comes first."""
NOT_CONFIGURED = "not_configured"
BUG = "bug"
_USAGE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test found.  Units: *took_ms* milliseconds."""

    name: str
    ok: bool
    code: str | None
    what: str
    took_ms: float


async def probe(stage: Stage, of: Settings) -> Finding:
    """Test the connection of *stage*, within its time-out."""
    if stage is Stage.OIC and of.oic.mode == "builtin":
        return Finding(stage, ok=True, code=None, what="the flow runs here: there is nothing to reach", took_ms=0.0)
    if of.connection(stage).base_url is None:
        what = f"MEMBERSYNC_{stage.upper()}__BASE_URL is not set"
        return Finding(stage, ok=False, code=NOT_CONFIGURED, what=what, took_ms=0.0)
    began = time.perf_counter()
    code, what = await _tried(stage, of)
    return Finding(stage, code is None, code, what, round((time.perf_counter() - began) * 1000, 1))


async def _tried(stage: Stage, of: Settings) -> tuple[str | None, str]:
    """Give the code and the sentence of what came of it."""
    timeout_s = of.connection(stage).timeout_s
    runner = build_one(stage, of, permits(heeds_wait=False).get(stage))
    try:
        async with asyncio.timeout(timeout_s + _GRACE_S):
            await runner.test()
    except StageError as error:
        return error.code, mask_text(str(error))
    except TimeoutError:
        return OutcomeUnknownError.code, f"no answer within {timeout_s:g} s"
    except Exception as error:  # noqa: BLE001  # a bug's message may carry a secret: its kind is enough
        return BUG, f"the test itself failed ({type(error).__name__})"
    finally:
        await runner.close()
    return None, "it answers, and takes our credentials"


def main() -> int:
    """Test the connection that is named on the command line; 0: it passed, 1: it did not, 2: there is none."""
    if len(sys.argv) != _USAGE or sys.argv[1] not in set(Stage):
        sys.stderr.write(f"usage: python -m workers.probe {'|'.join(Stage)}\n")
        return _USAGE
    finding = asyncio.run(probe(Stage(sys.argv[1]), settings()))
    sys.stdout.buffer.write(orjson.dumps(asdict(finding)) + b"\n")
    return 0 if finding.ok else 1


if __name__ == "__main__":
    sys.exit(main())
