"""A wall clock that tests step: that of all processes into which it is preloaded.  It wants a C compiler."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.local.servers import embedded_postgres

SOURCE = Path(__file__).with_name("stepped_clock.c")


@dataclass(frozen=True, slots=True)
class SteppedClock:
    """The clock of processes that were started in its `environment`.  Whoever they run as may enter its *folder*."""

    folder: Path

    def make(self) -> bool:
        """Make it, and set it right; False: there is no compiler."""
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            return False
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(self._preloaded), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True)
        self.step(0)
        return True

    def step(self, wrong_by_s: int) -> None:
        """Have it go wrong by so many seconds, from now on."""
        with self._shown.open("r+b" if self._shown.exists() else "wb") as file:
            file.write(struct.pack("q", wrong_by_s))
        self._shown.chmod(0o644)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._preloaded), "STEPPED_CLOCK": str(self._shown)}

    @property
    def _preloaded(self) -> Path:
        return self.folder / "clock.so"

    @property
    def _shown(self) -> Path:
        return self.folder / "clock"


@contextmanager
def ledger_with_a_clock() -> Iterator[tuple[str, SteppedClock]]:
    """Run an empty PostgreSQL whose clock can be stepped; give the URL of its database, and its clock."""
    with TemporaryDirectory(prefix="membersync-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        clock = SteppedClock(folder)
        assert clock.make()
        environment = {**os.environ, **clock.environment}
        with embedded_postgres(folder / "home", port=0, scratch=True, environment=environment) as url:
            yield url, clock
