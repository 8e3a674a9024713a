"""A worker that is told to stop takes nothing new, ends its calls, hands back the rest, and costs nobody an attempt."""

from tests.rig import DISPATCHER, Pipeline, eventually, member_event

MEMBERS = 24


def test_what_a_stopped_worker_has_not_begun_goes_to_the_next_at_no_cost(pipeline: Pipeline) -> None:
    control = pipeline.sandbox.control
    control.set("crowdtwist", latency_ms=400)
    pipeline.settings |= {"MEMBERSYNC_DISPATCHER__BATCH_LIVE": "1", "MEMBERSYNC_CROWDTWIST__ADAPTIVE": "false"}
    with pipeline.process(*DISPATCHER):
        with pipeline.worker("first") as first:
            pipeline.send(*(member_event(f"S-{index}") for index in range(MEMBERS)))
            eventually(lambda: pipeline.states().get("completed", 0) >= 2, "some are through")
            first.terminate()
            assert first.wait(60) == 0
        assert pipeline.sql("select count(*) from instance where state = 'running' and begun") == [0]
        left = MEMBERS - pipeline.states()["completed"]
        assert left > 0, "it was stopped in the middle"
        assert control.state("crowdtwist")["in_flight"] == 0
        with pipeline.worker("second"):
            eventually(pipeline.settled, "the next one has done the rest")
    assert pipeline.states() == {"completed": MEMBERS}
    assert pipeline.sql("select count(*) from activity where attempt > 1 or code is not null") == [0]
    assert control.state("crowdtwist")["posts"] == MEMBERS
