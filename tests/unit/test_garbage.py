"""What refers to itself is found in time, in a process that has loaded much and searches seldom."""

import subprocess
import sys

DROPPED = """
import gc
loaded = [[] for _ in range(300_000)]
gc.collect()
from shared.garbage import search_seldom
search_seldom()
assert gc.isenabled() and gc.get_threshold()[0] > 10_000
gc.set_threshold(100, 1, 1)
before = gc.get_stats()[2]["collections"]
kept = []
for _ in range(20_000):
    kept.append([])
print(gc.get_stats()[2]["collections"] > before)
"""


def test_all_that_is_new_is_searched_though_much_was_loaded_before() -> None:
    ran = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"
