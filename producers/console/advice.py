"""What to do about a failure: the troubleshooting steps of the mission, for one cause.  Pure.

Source: domain.md section 0 and the field labels of its section 1.5.
"""

import re

from shared.pipeline import Stage

_FIELDS: tuple[tuple[str, str], ...] = (
    (r"e-?mail", "Email Address of the member's contact"),
    (r"postal|zip", "Primary Postal Code of the contact"),
    (r"last.?name", "Contact Last Name"),
    (r"first.?name", "Contact First Name"),
    (r"birth", "Date of Birth of the contact"),
    (r"gender", "M/F of the contact"),
    (r"country", "Primary Country Code of the contact"),
    (r"city", "Primary City of the contact"),
    (r"third.?party|member.?number", "Member Number"),
    (r"inactive|status", "Status of the member"),
)


def for_data_error(message: str) -> str:
    """Say what to correct in Siebel."""
    for pattern, field in _FIELDS:
        if re.search(pattern, message, re.IGNORECASE):
            return f"Correct {field} in Siebel; the update is sent by itself."
    return "Correct in Siebel what the message names; the update is sent by itself."


def for_dead_letter(stage: str | None, code: str | None) -> str:
    """Say what to do about dead letters of one cause."""
    if code == "bug":
        return "An error of membersync: its log has the traceback by instance id. Requeue after the fix."
    if code == "worker_lost":
        return "Workers died with it: look at their memory and logs before you requeue."
    match stage:
        case Stage.OIC:
            return "OIC Failure: test the connection, see that the integration is active, resume, then requeue."
        case Stage.CROWDTWIST:
            return "CT Failure: test the connection to CrowdTwist; when it passes, requeue."
        case Stage.SIEBEL:
            return "The status could not be written back: test Siebel; a requeue writes it without calling CrowdTwist."
        case _:
            return "Look at one of them, then requeue."
