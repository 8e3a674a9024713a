"""A line of the log is one line of JSON, whatever is in it."""

import json
import subprocess
import sys

_SAYS = r"""
import logging, threading
from shared import logs
logs.configure("api\n")
HOSTILE = 'x\r\n{"level": "error", "event": "forged"}\x1b[2J\u2028\u202e\x00'
log = logs.logger("one")
log.warning("said", words=HOSTILE, **{HOSTILE: 1})
log.warning(HOSTILE)
logging.getLogger(HOSTILE).warning("of %s", HOSTILE)
try:
    secret = "kept-to-itself"
    raise ValueError(HOSTILE)
except ValueError:
    log.exception("failed")
threading.Thread(target=log.info, args=("from a thread",)).start()
"""


def test_no_value_makes_a_line_or_a_command_of_its_own_and_a_traceback_has_no_values() -> None:
    ran = subprocess.run([sys.executable, "-c", _SAYS], capture_output=True, check=True, timeout=60)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["warning"] * 3 + ["error", "info"]
    assert {line["process"] for line in lines} == {"api\n"}, "also of a thread, which begins without a context"
    assert not [byte for byte in ran.stderr.replace(b"\n", b"") if not 0x20 <= byte <= 0x7E]
    assert "ValueError" in lines[3]["exception"]
    assert b"kept-to-itself" not in ran.stderr
