"""How long those who write wait while a ledger of a million instances is migrated, and while its tables are changed.

The migrations since the first that counts as released are done again; then what `shared.ledger.migrations.online` does
to a large table, each once on `instance`.  Meanwhile one event after the other is accepted: the longest counts.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from alembic import command

from shared.ledger.checkup import migrate
from shared.ledger.migrations import online
from tests.bench.drain import drained, running, say
from tests.bench.events import member_event
from tests.bench.many import multiply
from tests.bench.rig import Rig
from tests.bench.scenarios import Options, Start
from tests.migrations import configured, migrating

TITLE = "a million instances migrated, while events are accepted"
KEYS: Sequence[str] = ("migrate_s", "migrate_longest_wait_ms")
_INSTANCES = 1_000_000
_ORIGINALS = 500
_BEFORE = "0042"
_EVERY_S = 0.02
_STEPS: Sequence[tuple[str, Callable[[], None]]] = (
    ("an index", lambda: online.create_index("bench_code", "instance", ["code", "accepted_at"])),
    ("an update of every row", lambda: online.update_in_pieces("instance", "reason = 'x'", "reason is null")),
    ("a check", lambda: online.add_check("bench_reason", "instance", "reason <> 'y'")),
    ("the index dropped", lambda: online.drop_index("bench_code", "instance")),
)


def run(start: Start, options: Options) -> dict[str, float]:
    """Go back some migrations, then forth, and change the largest table."""
    with start() as on:
        with running(on):
            drained(on, _ORIGINALS, "originals")
        instances = multiply(on.ledger, options.scaled(_INSTANCES, 10_000))
        config = configured(on.ledger_url)
        command.downgrade(config, _BEFORE)
        command.upgrade(config, "0045")  # without its columns nobody of this version could accept
        with _accepting(on) as waited:
            began = time.perf_counter()
            migrate(on.ledger_url)
            took_s = time.perf_counter() - began
            say(f"{instances:,} instances, from 0045 on: {took_s:.1f} s; longest wait {max(waited):.0f} ms")
            for name, step in _STEPS:
                step_began, seen = time.perf_counter(), len(waited)
                with migrating(on.ledger_url):
                    step()
                step_s = time.perf_counter() - step_began
                say(f"{name}: {step_s:.1f} s; longest wait {max(waited[seen:], default=0):.0f} ms")
        say(f"{len(waited):,} events accepted meanwhile")
    return {"migrate_s": took_s, "migrate_longest_wait_ms": max(waited)}


@contextmanager
def _accepting(on: Rig) -> Iterator[list[float]]:
    """Accept one event after the other; gives how long each took.  Units: milliseconds."""
    waited, over = [0.0], threading.Event()

    def accept() -> None:
        number = 0
        while not over.wait(_EVERY_S):
            began = time.perf_counter()
            on.feed([member_event(f"L-{number}")])
            waited.append((time.perf_counter() - began) * 1000)
            number += 1

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield waited
    finally:
        over.set()
        thread.join()
