"""What stands beside the charts of the console."""

import pytest

from producers.console.charts import share


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (None, ""),
        (0, "0 %"),
        (0.00123, "0.12 %"),
        (0.0999, "10 %"),
        (0.1234, "12 %"),
        (0.995, "100 %"),
        (1, "100 %"),
    ],
)
def test_a_part_is_said_with_as_many_digits_as_say_something(part: float | None, said: str) -> None:
    assert share(part) == said
