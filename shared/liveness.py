"""How this process shows that its main loop goes round, and what it waits for: to probes, and to itself.

The command that is the process begins it; in any other, as in one that runs tests, nothing is shown.  Probes read the
file of `shared.probe_files`.  And where nobody probes, as under Docker, a process whose main loop has not gone round
for `MEMBERSYNC_HEALTH__SILENT_S` ends itself, with what each of its threads was doing in its log, and is started again
by whoever started it.

Only the main loop calls `went_round`: no thread of its own can vouch for one that hangs.  It never waits for so long
either: for answers of the ledger it waits within bounds (`shared.ledger.engine`), for those of the broker too
(`shared.broker`).  So nothing outside can get a process restarted.
"""

import faulthandler
import os
from pathlib import Path
from time import monotonic

from shared import probe_files
from shared.logs import logger
from shared.settings import Settings

log = logger(__name__)

_SHOWN_EVERY_S = 1.0
_STOPS_WITHIN_S = 3600.0


class Liveness:
    """What one process shows, once it has begun."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._pid = 0
        self._silent_s = 0.0
        self._nap_s = 0.0
        self._until = 0.0
        self._waits_for = ""
        self._is_unwritable = False

    def begin(self, process: str, of: Settings) -> None:
        """Begin to show, and to watch, this *process*, one of `probe_files.PROCESSES`."""
        folder = Path(probe_files.folder_of(str(of.home), of.health.folder))
        self._file, self._pid, self._silent_s = folder / process, os.getpid(), of.health.silent_s
        self._waits_for = "its start"
        self.went_round()

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to show."""
        return self._file is not None

    def went_round(self, nap_s: float = 0.0) -> None:
        """Note that the main loop went round, and will again when it has napped for *nap_s* seconds."""
        self._nap_s = nap_s
        if self._means_until() >= self._until + _SHOWN_EVERY_S:
            self._show()

    def waits_for(self, what: str) -> None:
        """Note what this process waits for, in a sentence; nothing: it is ready.  Logged once, and when it is over."""
        if what == self._waits_for:
            return
        if what:
            log.warning("not ready", waits_for=what)
        else:
            log.info("ready", waited_for=self._waits_for)
        self._waits_for = what
        self._show()

    def ends(self) -> None:
        """Note that this process was told to end; how long it may take is for whoever told it to say."""
        self._silent_s = max(self._silent_s, _STOPS_WITHIN_S)
        self._waits_for = "its end"
        self._show()
        faulthandler.cancel_dump_traceback_later()

    def _means_until(self) -> float:
        return monotonic() + self._silent_s + self._nap_s

    def _show(self) -> None:
        if self._file is None or os.getpid() != self._pid:
            return  # not begun, or a child that was forked
        self._until = self._means_until()
        faulthandler.dump_traceback_later(self._silent_s + self._nap_s, exit=True)
        new = self._file.with_name(f".{self._file.name}.{self._pid}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(probe_files.document(self._until, self._waits_for), encoding="utf-8")
            new.replace(self._file)
        except OSError as error:
            if not self._is_unwritable:
                log.error("nothing is shown to probes", file=str(self._file), cause=str(error.strerror))
            self._is_unwritable = True
        else:
            self._is_unwritable = False


this_process = Liveness()
