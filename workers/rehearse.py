"""`python -m workers.rehearse`: today's mapping, without sending anything.

Shape: a member event in canonical JSON per line of standard input; for each, in order, a line `{"user": …}` or
`{"error": …}` on standard output.  A process of its own, because `producers`, who want to know, may not import workers.
"""

import sys
from collections.abc import Iterable, Iterator

import orjson

from shared.errors import DataError
from shared.settings import OicSettings, settings
from workers.stages.oic_mapping import map_member


def rehearsed(lines: Iterable[bytes], of: OicSettings) -> Iterator[dict[str, object]]:
    """Map each event as the oic stage would now."""
    for line in lines:
        try:
            yield {"user": map_member(orjson.loads(line), of)}
        except DataError as error:
            yield {"error": error.what}


if __name__ == "__main__":
    for answer in rehearsed(sys.stdin.buffer, settings().oic):
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
