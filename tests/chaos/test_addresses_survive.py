"""A chain of refused members comes loose though its processes are killed over and over, and no address is lost."""

import time

from tests.rig import Pipeline, eventually, member_event

SETTINGS = {
    "MEMBERSYNC_DISPATCHER__LEASE_S": "8",
    "MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "3",
    "MEMBERSYNC_OIC__TIMEOUT_S": "2",
    "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "2",
    "MEMBERSYNC_SIEBEL__TIMEOUT_S": "2",
    "MEMBERSYNC_CROWDTWIST__PROBE_FIRST_S": "0.2",
    "MEMBERSYNC_SIEBEL__PROBE_FIRST_S": "0.2",
    "MEMBERSYNC_CROWDTWIST__SETTLE_S": "1",
    "MEMBERSYNC_SIEBEL__SETTLE_S": "1",
    "MEMBERSYNC_SIEBEL__REPORT_AFTER_S": "0",
}
COUNT = 6
NUMBERS = [f"M-{at}" for at in range(COUNT)]
HAVE = [f"a{at}@example.org" for at in range(COUNT)]
LIVES_S = (0.2, 0.5, 0.9, 1.4)
"""How long the processes live, from one kill to the next."""


def shown(pipeline: Pipeline) -> list[str | None]:
    return [(pipeline.sandbox.control.user(number) or {}).get("email_address") for number in NUMBERS]


def is_whole(pipeline: Pipeline) -> bool:
    is_closed = pipeline.sql("select count(*) from data_case where closed_at is null") == [0]
    return shown(pipeline) == ["new@example.org", *HAVE[:-1]] and pipeline.settled() and is_closed


def test_a_chain_comes_loose_though_everything_is_killed(pipeline: Pipeline) -> None:
    pipeline.settings.update(SETTINGS | {"MEMBERSYNC_CASES__LOOK_UPS_PER_MINUTE": "0"})
    with pipeline.whole():
        pipeline.send(*(member_event(one, email_address=has) for one, has in zip(NUMBERS, HAVE, strict=True)))
        eventually(lambda: pipeline.states() == {"completed": COUNT}, "they have their addresses")
        for at in range(COUNT - 1, 0, -1):  # each wants what the one before it has, and is refused
            pipeline.send(member_event(NUMBERS[at], minute=1, email_address=HAVE[at - 1]))
            eventually(pipeline.settled, "refused")
        assert pipeline.states() == {"completed": COUNT, "rejected": COUNT - 1}
    pipeline.send(member_event(NUMBERS[0], minute=1, email_address="new@example.org"))
    for lives_s in LIVES_S:
        with pipeline.whole():
            time.sleep(lives_s)
        found = [one for one in shown(pipeline) if one is not None]
        assert len(found) == len(set(found)) == COUNT  # nobody is without an address, no two have one
    with pipeline.whole():
        eventually(lambda: is_whole(pipeline), "all have their own", within_s=90)
    assert set(pipeline.sql("select closed_how from data_case")) == {"holder_moved"}
