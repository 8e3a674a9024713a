"""What probes read: files that are old, foreign, garbage or absent, and a process that hangs."""

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from deploy.health import main
from shared.liveness import Liveness
from shared.probe_files import document, trouble
from shared.settings import Settings

HANGS = """
import sys, threading
from shared.liveness import Liveness
from shared.settings import Settings
health = {"silent_s": 5.2, "folder": sys.argv[1]}
Liveness().begin("dispatcher", Settings(_env_file=None, ledger_answer_s=0.1, health=health))
def hang():
    threading.Event().wait()
hang()
"""


def written(folder: Path, text: str) -> str | None:
    (folder / "api").write_text(text)
    return trouble(str(folder), "api", of_readiness=False)


def test_a_process_lives_until_the_instant_that_it_has_written(tmp_path: Path) -> None:
    assert written(tmp_path, document(monotonic() + 60, "")) is None
    assert "has not gone round its main loop for too long, by 60 s" in str(
        written(tmp_path, document(monotonic() - 60, ""))
    )


def test_what_it_waits_for_is_no_reason_to_restart_it(tmp_path: Path) -> None:
    assert written(tmp_path, document(monotonic() + 60, "the ledger: it is away")) is None
    assert trouble(str(tmp_path), "api", of_readiness=True) == "the ledger: it is away"


@pytest.mark.parametrize("garbage", ["", "\n", "soon\n\n", "nan\n\n", "\x00\x00", "12", "9" * 5000])
def test_garbage_is_no_sign_of_life(tmp_path: Path, garbage: str) -> None:
    assert written(tmp_path, garbage) is not None


def test_bytes_that_are_no_text_are_no_sign_of_life(tmp_path: Path) -> None:
    (tmp_path / "api").write_bytes(b"\xff\xfe")
    assert "not of its making" in str(trouble(str(tmp_path), "api", of_readiness=False))


def test_a_folder_a_pipe_and_nothing_are_no_sign_of_life(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    os.mkfifo(tmp_path / "flower")  # opened as others are, it would keep the probe waiting
    for process in ("api", "flower", "dispatcher"):
        assert trouble(str(tmp_path), process, of_readiness=False) is not None


def shown(folder: Path) -> Liveness:
    one = Liveness()
    one.begin("api", Settings(_env_file=None, health={"folder": str(folder)}))
    return one


@pytest.mark.parametrize("in_the_way", ["folder", "pipe", "link"])
def test_a_process_outlives_what_is_in_the_way_of_its_file(tmp_path: Path, in_the_way: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    match in_the_way:
        case "folder":
            (tmp_path / "api").mkdir()
        case "pipe":
            os.mkfifo(tmp_path / "api")
        case _:
            (tmp_path / "api").symlink_to(elsewhere)
    one = shown(tmp_path)
    one.waits_for("")
    assert not elsewhere.exists()
    assert (trouble(str(tmp_path), "api", of_readiness=True) is None) == (in_the_way != "folder")
    one.ends()


def test_where_nothing_can_be_written_a_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown(tmp_path / "file" / "below").ends()


def test_who_naps_long_says_so(tmp_path: Path) -> None:
    one = shown(tmp_path)
    one.went_round(600)
    until = float((tmp_path / "api").read_text().splitlines()[0])
    assert until > monotonic() + 600
    one.ends()


def test_a_child_that_was_forked_does_not_vouch_for_its_parent(tmp_path: Path) -> None:
    one = shown(tmp_path)
    (tmp_path / "api").unlink()
    child = os.fork()
    if child == 0:
        one.waits_for("something")
        os._exit(0)
    os.waitpid(child, 0)
    assert not (tmp_path / "api").exists()
    one.ends()


def test_who_hangs_ends_itself_and_says_where(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", HANGS, tmp_path], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "in hang" in ran.stderr


@pytest.mark.parametrize("typed", [[], ["alive"], ["alive", "nobody"], ["dead", "api"], ["alive", "api", "more"]])
def test_what_is_wrongly_asked_is_told_how(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed) == 2
    assert "alive|ready api|dispatcher" in capsys.readouterr().err


def test_a_probe_imports_nothing_of_the_product_but_how_to_read() -> None:
    script = "import sys, deploy.health; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert [name for name in loaded if name.split(".")[0] in {"shared", "producers", "workers"}] == [
        "shared",
        "shared.probe_files",
    ]
    assert not {"pydantic", "sqlalchemy", "celery", "structlog", "json", "socket"} & set(loaded)


def test_a_silence_that_the_wait_for_the_ledger_could_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="must exceed ledger_answer_s"):
        Settings(_env_file=None, health={"silent_s": 60})
