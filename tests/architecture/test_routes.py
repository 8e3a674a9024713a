"""Every route says who may use it."""

from collections import Counter

from producers.site import create_app
from shared.settings import Settings
from tests.roles import ROWS, routes_of


def test_every_route_has_one_row_in_the_table_of_roles() -> None:
    app = create_app(Settings(_env_file=None, ledger_url="postgresql://nobody@127.0.0.1:1/none"))
    routes, rows = Counter(routes_of(app)), Counter(route for route, _ in ROWS)
    without_a_row, without_a_route = sorted(routes - rows), sorted(rows - routes)
    assert (without_a_row, without_a_route) == ([], []), "tests/roles.py says who may use which"
