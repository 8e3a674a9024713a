"""What must hold of the whole tree, whoever changes it."""

import ast
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from dotenv import dotenv_values
from pydantic import BaseModel
from sqlalchemy import Engine, text
from sqlalchemy.schema import CreateSchema

from deploy.local.programs import inherited_environment
from shared import errors
from shared.ledger.models import Base
from shared.pipeline import QUEUES, STAGES, Lane, Stage
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"pyproject.toml", "README.md", "Makefile", "workers", "producers", "shared", "tests", "deploy"}
CHECKS = text("""
    select r.relname, c.conname, pg_get_constraintdef(c.oid) as said
    from pg_constraint c join pg_class r on r.oid = c.conrelid
    where c.contype = 'c' and c.connamespace = cast(:schema as regnamespace)
""")
STAGE_CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.MembersyncError)
]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    return listed.stdout.splitlines()


def test_only_the_transitions_change_an_instance() -> None:
    changes = re.compile(
        r"\b(update|delete from)\s+(only\s+)?(instance|errand)\b|\binsert into errand\b", re.IGNORECASE
    )
    code = [name for name in tracked() if name.endswith(".py") and name.split("/")[0] in TOP_LEVEL - {"tests"}]
    found = {name for name in code if changes.search((ROOT / name).read_text(encoding="utf-8"))}
    homes = ("shared/ledger/transitions/", "shared/ledger/migrations/")
    assert {name for name in found if not name.startswith(homes)} == set()
    assert {"shared/ledger/transitions/claims.py", "shared/ledger/transitions/errands.py"} <= found


def settings_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield from settings_of(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{(field.alias or name).upper()}", field.description


def as_compose_reads(text: str) -> dict[str, str]:
    """Read an env_file as Docker Compose does: blanks before the value go first, then what follows ` #`."""
    lines = [line.partition("=") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {name: value.strip().partition(" #")[0].rstrip().strip("'\"") for name, _, value in lines}


def test_migrations_make_exactly_the_models(ledger: Engine) -> None:
    with ledger.connect() as tx:
        assert compare_metadata(MigrationContext.configure(tx), Base.metadata) == []


def test_migrations_make_exactly_the_checks_of_the_models(ledger: Engine) -> None:
    with ledger.connect() as tx:
        tx.execute(CreateSchema("as_modelled"))
        tx.execute(text("set local search_path to as_modelled"))
        Base.metadata.create_all(tx)
        found = {
            schema: {(one.relname, one.conname, one.said) for one in tx.execute(CHECKS, {"schema": schema})}
            for schema in ("public", "as_modelled")
        }
        tx.rollback()
    assert len(found["public"]) > 10
    assert found["public"] == found["as_modelled"]


@pytest.mark.parametrize("kind", STAGE_CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind: type[errors.MembersyncError]) -> None:
    count = len(inspect.signature(kind.__init__).parameters) - 1
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    values = {"http_status": 503, "retry_after_s": 7.5, "more_in_s": 1.5}
    error = kind(*[values.get(name, name) for name in names]) if "args" not in names else kind("what")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (type(again), str(again), again.args) == (kind, str(error), error.args)
    assert vars(again) == vars(error)
    assert count == len(names)


def test_every_setting_is_in_the_example_below_what_it_means_and_its_unit() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    said = {name: meaning for meaning, name in re.findall(r"^# (.+)\n(MEMBERSYNC_[A-Z_]+)=", example, re.MULTILINE)}
    assert said == dict(settings_of(Settings, "MEMBERSYNC_"))


def test_the_example_is_what_the_settings_default_to() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    environment = {name: value for name, value in as_compose_reads(example).items() if value}
    script = "from shared.settings import Settings; print(Settings(_env_file=None).model_dump_json())"
    base = inherited_environment()
    printed = [
        subprocess.run(
            [sys.executable, "-c", script], env=base | more, check=True, capture_output=True, cwd=ROOT
        ).stdout
        for more in ({}, environment)
    ]
    assert printed[0] == printed[1]


def test_compose_and_the_settings_read_the_same_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert as_compose_reads(example) == dotenv_values(ROOT / ".env.example")


def test_a_comment_behind_an_empty_value_would_be_seen() -> None:
    assert as_compose_reads("A=  # of a\nB=2 # of b\n") == {"A": "# of a", "B": "2"}


def test_the_map_is_whole() -> None:
    assert [stage.value for stage in STAGES] == ["oic", "crowdtwist", "siebel"]
    assert set(QUEUES) == {f"{stage}.{lane}" for stage in Stage for lane in Lane}
    assert [stage.rest[0] for stage in Stage] == list(Stage)
    assert len({stage.task for stage in Stage}) == len(STAGES)


def test_the_top_level_is_the_users() -> None:
    names = {name.split("/")[0] for name in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_every_make_target_that_the_readme_names_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", readme))
    assert named
    assert named <= targets


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_no_module_has_grown_over_four_hundred_lines() -> None:
    long = [name for name in tracked() if name.endswith(".py") and len((ROOT / name).read_bytes().splitlines()) > 400]
    assert long == []


def test_the_locks_name_no_index() -> None:
    for lock in (ROOT / "deploy").glob("*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert "--index" not in text
        assert text.count("--hash=sha256:") > 100


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over what runs when a module is imported: all of it but the bodies of its functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)
        elif not isinstance(child, ast.Lambda):
            for default in [*child.args.defaults, *filter(None, child.args.kw_defaults)]:
                yield default
                yield from at_import(default)


def clocks_at_import(source: str) -> list[str]:
    """Return where a module asks what time it is as it is imported, unless it means days ago."""
    nodes = [ast.parse(source), *at_import(ast.parse(source))]
    days_ago = {
        ast.unparse(one.left)
        for one in nodes
        if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Sub) and "timedelta(days=" in ast.unparse(one.right)
    }
    asking = re.compile(r"(datetime\.now\(.*\)|time\.time\(\)|date\.today\(\))(\.replace\(.*\))?")
    found = [ast.unparse(one) for one in nodes if isinstance(one, ast.Call)]
    return [one for one in found if asking.fullmatch(one) and not any(one in left for left in days_ago)]


def test_no_test_takes_the_time_of_its_import_for_now() -> None:
    tests = [name for name in tracked() if name.startswith("tests/") and name.endswith(".py")]
    found = {name: clocks_at_import((ROOT / name).read_text(encoding="utf-8")) for name in tests}
    assert {name: asked for name, asked in found.items() if asked} == {}
    wrong = ("A = datetime.now(UTC)", "A = datetime.now(UTC) - timedelta(hours=1)", "def f(at=datetime.now(UTC)): ...")
    assert all(map(clocks_at_import, wrong))
    assert not any(
        map(clocks_at_import, ("A = datetime.now(UTC) - timedelta(days=1)", "def f():\n  datetime.now(UTC)"))
    )
