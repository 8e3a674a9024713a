"""The protocol of one member, explored to its end within small bounds; none of its rules can be left out."""

import pytest

from tests.protocol.explore import MUTANTS, SMALL, explore
from tests.protocol.states import Bound, Rules


@pytest.mark.parametrize("bound", SMALL, ids=str)
def test_whatever_the_order_of_steps_the_newest_event_decides(bound: Bound) -> None:
    found = explore(Rules(), bound)
    assert not found.wrong, "\n".join((*found.trace, found.wrong))
    assert found.states > 2_000


@pytest.mark.parametrize("name", MUTANTS)
def test_a_protocol_without_one_of_its_rules_has_a_counterexample(name: str) -> None:
    found = explore(Rules(**{name: False}), MUTANTS[name])
    assert found.wrong
    assert found.trace
