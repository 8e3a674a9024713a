"""Whatever is read of people is masked unless somebody is named who sees them; and no room reads past that."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from sqlalchemy import Engine, text

import shared.ledger
from producers.intake.accept import IntakeRules, accept
from producers.operations import reads
from producers.operations.job_control import Operator
from shared.events import parse_event
from shared.ledger import people
from shared.ledger.engine import Transaction, transaction
from shared.ledger.filters import Filter
from shared.ledger.people import Carried
from shared.ledger.records import InstanceRecord, MemberRecord
from shared.messages import normalised
from shared.personal import CLOSE, OPEN
from shared.pipeline import Lane, State
from tests.rig import member_event

ROOT = Path(__file__).parents[2]
ADA = Operator("ada", "admin")
PERSON: dict[str, Any] = {"last_name": "Quuxley", "email_address": "zq@example.org"}
SAID = f"{OPEN}Quuxley{CLOSE} is known as zq@example.org"
CANARIES = ("Quuxley", "zq@example")
NUMBER = "M-1"

Read = Callable[..., object]

CALLS: Mapping[str, Read] = {
    "instances": lambda tx, **who: reads.instances(tx, Filter(states=(State.DEAD,)), limit=5, **who),
    "failures": lambda tx: reads.failures(tx, Filter(), normalised(SAID), limit=5),
    "listed": lambda tx: reads.listed(tx, [1], limit=5),
    "instance": lambda tx, **who: reads.instance(tx, 1, **who),
    "instance_and_member": lambda tx, **who: reads.instance_and_member(tx, 1, **who),
    "member": lambda tx, **who: reads.member(tx, NUMBER, limit=5, **who),
    "member_and_ends": lambda tx, **who: reads.member_and_ends(tx, NUMBER, limit=5, **who),
    "members_of_address": lambda tx, **who: reads.members_of_address(tx, PERSON["email_address"], **who),
    "refusals_of_member": lambda tx: reads.refusals_of_member(tx, NUMBER),
}
"""How each read is called; a new one belongs here."""


def parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(reads, name)).parameters


UNMASKING = [name for name in CALLS if "unmasked_for" in parameters(name)]
MASKED = [name for name in CALLS if name not in UNMASKING or parameters(name)["unmasked_for"].default is None]


@pytest.fixture
def tx(ledger: Engine) -> Iterator[Transaction]:
    """Return a transaction on a ledger with one dead letter that names its person wherever it can."""
    event = parse_event(member_event(NUMBER, **PERSON), max_bytes=64_000)
    accept(ledger, [(0, event)], IntakeRules(Lane.LIVE))
    with ledger.begin() as one:
        one.execute(
            text("""update instance set state = 'dead', failed_stage = 'crowdtwist', code = 'bug', error = :said,
                    finished_at = now()"""),
            {"said": SAID},
        )
        one.execute(text("update member set told_error = :said, applied_id = newest_id"), {"said": SAID})
        one.execute(
            text("insert into activity (instance_id, state, what) values (1, 'dead', :said)"),
            {"said": "zq@example.org"},
        )
    with transaction(ledger) as one:
        yield one


def unmaskings(tx: Transaction) -> list[tuple[Any, ...]]:
    rows = tx.execute(text("select who, role, answer, count from operator_action where what = 'unmask'"))
    return [tuple(row) for row in rows]


def test_every_read_is_known_here() -> None:
    public = {
        name
        for name, one in inspect.getmembers(reads, inspect.isfunction)
        if one.__module__ == reads.__name__ and not name.startswith("_") and "tx" in inspect.signature(one).parameters
    }
    assert public == set(CALLS)


@pytest.mark.parametrize("name", MASKED)
def test_a_read_is_masked_and_records_nothing_unless_asked_otherwise(tx: Transaction, name: str) -> None:
    found = str(CALLS[name](tx))
    assert found != "None"
    assert [one for one in CANARIES if one in found] == []
    assert unmaskings(tx) == []


@pytest.mark.parametrize("name", UNMASKING)
def test_a_read_that_shows_people_records_who_sees_them_in_the_same_transaction(
    ledger: Engine, tx: Transaction, name: str
) -> None:
    found = str(CALLS[name](tx, unmasked_for=ADA))
    assert any(one in found for one in (*CANARIES, NUMBER))
    assert unmaskings(tx) == [("ada", "admin", "shown", 1)]
    with ledger.begin() as other:
        assert unmaskings(other) == []


@pytest.mark.parametrize("name", [name for name in UNMASKING if name in MASKED])
def test_a_read_that_shows_people_shows_them(tx: Transaction, name: str) -> None:
    found = str(CALLS[name](tx, unmasked_for=ADA))
    assert [one for one in CANARIES if one not in found] == []


def holds_people(kind: object, seen: tuple[object, ...] = ()) -> bool:
    """Return whether a type is, or is made of, a record with what a person or the other side said of one."""
    if kind in seen:
        return False
    if inspect.isclass(kind) and issubclass(kind, (InstanceRecord, MemberRecord, Carried)):
        return True
    parts = kind if isinstance(kind, list) else [*get_args(kind)]
    if inspect.isclass(kind) and is_dataclass(kind):
        hints = get_type_hints(kind)
        parts += [hints[field.name] for field in fields(kind)]
    return any(holds_people(part, (*seen, kind)) for part in parts)


def reads_of_people() -> set[tuple[str, str]]:
    """Return the functions of the ledger that hand on people as they are, each with its module."""
    found = {(people.__name__, people.members_of.__name__)}
    for info in pkgutil.walk_packages(shared.ledger.__path__, "shared.ledger."):
        if ".migrations" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, one in inspect.getmembers(module, inspect.isfunction):
            if one.__module__ == info.name and holds_people(get_type_hints(one).get("return")):
                found.add((info.name, name))
    return found


def ledger_names(source: str) -> set[tuple[str, str]]:
    """Return what of the ledger a module names: each function it imports, or takes from a module of it."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shared.ledger"):
            for one in node.names:
                found.add((str(node.module), one.name))
                modules[one.asname or one.name] = f"{node.module}.{one.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add((modules[node.value.id], node.attr))
    return found


def test_only_operations_read_people_from_the_ledger() -> None:
    unmasked = reads_of_people()
    assert {("shared.ledger.views", "instance"), ("shared.ledger.views", "member")} < unmasked
    readers = {
        str(path.relative_to(ROOT)): taken
        for path in (ROOT / "producers").rglob("*.py")
        if (taken := ledger_names(path.read_text(encoding="utf-8")) & unmasked)
    }
    assert "producers/operations/reads.py" in readers
    assert {path: taken for path, taken in readers.items() if not path.startswith("producers/operations/")} == {}
