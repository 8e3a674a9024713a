"""`python -m tests.chaos.suite.on_host NAMESPACE MODULE …`: run a module on another host, by its network namespace."""

import runpy
import sys
from pathlib import Path

from tests.chaos.suite.hosts import enter

if __name__ == "__main__":
    enter(Path(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
