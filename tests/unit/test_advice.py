"""The advice for a failure fits its cause; the words of the clients and those of the table are held together here."""

import pytest

from producers.operations import advice
from shared.errors import StageError, UnauthorisedError, UnavailableError
from shared.pipeline import STAGES, Stage
from shared.systems import crowdtwist as crowdtwist_answers
from shared.systems.answers import Answer, verdict


def told(error: StageError | None) -> tuple[str, str]:
    """Return code and message as a dead letter keeps them."""
    assert error is not None
    return error.code, str(error)


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        (Stage.OIC, "MEMBERSYNC_OIC__USERNAME"),
        (Stage.CROWDTWIST, "MEMBERSYNC_CROWDTWIST__API_KEY"),
        (Stage.SIEBEL, "MEMBERSYNC_SIEBEL__USERNAME"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_name_the_setting_to_change(stage: Stage, setting: str, status: int) -> None:
    code, message = told(verdict("CrowdTwist", Answer(status, {})))
    assert setting in advice.for_dead_letter(stage, code, message)
    assert setting in advice.setting_at_fault(stage, message)


@pytest.mark.parametrize("stage", STAGES)
def test_members_that_are_refused_though_the_test_passes_are_looked_at(stage: Stage) -> None:
    said = advice.for_dead_letter(stage, "unauthorised", "refused our credentials (HTTP 403)")
    assert "if it passes, it is these members" in said
    assert "what one of them sends" in said


def test_a_token_endpoint_that_refuses_us_names_the_setting() -> None:
    message = "OIC: the token endpoint refused our client (HTTP 400)"
    assert "CLIENT_SECRET" in advice.setting_at_fault(Stage.OIC, message)


@pytest.mark.parametrize("message", ["CrowdTwist: answered 503", "Siebel: could not connect", ""])
def test_an_outage_blames_no_setting(message: str) -> None:
    assert all(not advice.setting_at_fault(stage, message) for stage in STAGES)


@pytest.mark.parametrize(
    ("error", "advised"),
    [
        (verdict("CrowdTwist", Answer(200, None)), "MEMBERSYNC_CROWDTWIST__BASE_URL"),
        (verdict("CrowdTwist", Answer(302, None)), "a proxy, a gateway"),
        (crowdtwist_answers.refusal(Answer(404, {})), "a proxy, a gateway"),
        (verdict("CrowdTwist", Answer(500, {})), "what one of them sends"),
        (verdict("CrowdTwist", Answer(429, {})), "BUDGET_PER_MINUTE"),
        (verdict("CrowdTwist", Answer(503, {}, "30")), "BUDGET_PER_MINUTE"),
        (UnavailableError("OIC", "the integration is not there or not active (HTTP 404)"), "FLOW_CODE"),
        (UnauthorisedError("OIC", "whatever"), "correct MEMBERSYNC_CROWDTWIST__API_KEY"),
    ],
)
def test_each_cause_has_advice_of_its_own(error: StageError | None, advised: str) -> None:
    assert advised in advice.for_dead_letter(Stage.CROWDTWIST, *told(error))


def test_a_certificate_is_no_firewall() -> None:
    words = "CrowdTwist: could not connect: certificate verify failed"
    assert "SSL_CERT_FILE" in advice.for_dead_letter(Stage.CROWDTWIST, "unreachable", words)
    assert "SSL_CERT_FILE" not in advice.for_dead_letter(Stage.CROWDTWIST, "unreachable", "could not connect: refused")


@pytest.mark.parametrize("stage", [*STAGES, None])
@pytest.mark.parametrize("row", [*advice.TABLE, advice.row("anything", "")])
def test_every_row_can_be_said_of_every_stage(row: advice.Advice, stage: Stage | None) -> None:
    said = advice.for_dead_letter(stage, row.code) + advice.cause(stage, row.code)
    assert "{" not in said
    assert said


def test_a_cause_speaks_of_codes_as_pages_do() -> None:
    assert advice.cause("siebel", "data_error", "Siebel: no member with this Member Number") == "Data Error at Siebel"
