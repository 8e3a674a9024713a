"""A form forms_sent one job, however often it is sent, and waits for no other form."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from fastapi.responses import RedirectResponse, Response

from producers.console.session import SentForms


def test_a_form_that_is_sent_again_is_led_to_the_same_job_and_one_that_was_refused_may_start() -> None:
    forms_sent = SentForms()
    jobs = iter(["/jobs/1", "/jobs/2"])
    assert forms_sent.once("A", lambda: Response(status_code=409)).status_code == 409
    for _ in range(3):
        assert forms_sent.once("A", lambda: RedirectResponse(next(jobs), 303)).headers["location"] == "/jobs/1"
    assert forms_sent.once("B", lambda: RedirectResponse(next(jobs), 303)).headers["location"] == "/jobs/2"


def test_a_long_plan_holds_up_nobody_elses() -> None:
    forms_sent, planned, begun = SentForms(), Event(), Event()

    def long_plan() -> Response:
        begun.set()
        assert planned.wait(20)
        return RedirectResponse("/jobs/1", 303)

    with ThreadPoolExecutor(2) as forms:
        first = forms.submit(forms_sent.once, "A", long_plan)
        assert begun.wait(5)
        try:
            other = forms.submit(forms_sent.once, "B", lambda: RedirectResponse("/jobs/2", 303))
            assert other.result(5).headers["location"] == "/jobs/2"
        finally:
            planned.set()
        assert first.result(5).headers["location"] == "/jobs/1"
