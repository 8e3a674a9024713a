"""What it means that a guard holds, or that Siebel is silent, and what to do: for pages, mail and terminals.  Pure."""

from collections.abc import Mapping

from producers.operations.advice import Step
from shared.guard_settings import GuardSettings
from shared.ledger.guards import FLOOD, Hold, HoldState
from shared.lifecycle.mass_changes import Change
from shared.lifecycle.silence import Silence

_MASS = (
    "So many members {} at once that a job, a view or a workflow in Siebel is broken rather than the members. They are "
    "held before anything is sent; CrowdTwist and Siebel show of them what they showed before. All others go on, and "
    "so does a held member of whom something newer comes that is well."
)
GUARDED: Mapping[str, str] = {
    FLOOD: "So many members were refused for the same cause at once that the mapping, a lookup row or a rule is broken "
    "rather than the members. They are held and not told; Siebel shows of them what it showed before. All others go "
    "on.",
    Change.DEACTIVATION: _MASS.format("become inactive"),
    Change.BLANKING: _MASS.format("lose what was filled"),
}
"""What it means that a guard holds, by the kind of its hold."""


_SOME_HELD = "membersync instances --state held --stage oic --limit 3"


def about_hold(hold: Hold) -> str:
    """Say what can be done about what a guard holds, and what becomes of it where nobody does anything."""
    members = f"{hold.held} member{'' if hold.held == 1 else 's'}"
    match hold.state:
        case HoldState.HOLDING if hold.kind != FLOOD:
            return (
                f"Is it meant? Then release: {members} sent, first 1, then 10, then all. If not, discard: nothing of "
                f"it is sent, {members} stay as they were, and Siebel sends them anew once its job is mended."
                + (f" For {hold.told} it was too late: their next event mends them." if hold.told else "")
            )
        case HoldState.HOLDING:
            return (
                f"Mend the mapping, then release: {members} sent again from the start, first 1, then 10, then all. "
                f"Or discard: {members} told Data Error."
                + (f" Requeue the {hold.told} that were told before, from the start." if hold.told else "")
            )
        case HoldState.RELEASING:
            again = ", and again whoever meets it again" if hold.kind == FLOOD else ""
            return f"Job {hold.job_id} sends them; {members} still held{again}."
        case _:
            return f"{members} yet to be {'told' if hold.kind == FLOOD else 'discarded'}."


def decide(hold: Hold, of: GuardSettings) -> tuple[Step, ...]:
    """Say how to decide about what a guard holds."""
    if hold.kind != FLOOD:
        return (
            Step("See what is held, and what some of them look like:", ("membersync guards", _SOME_HELD)),
            Step(
                "If that is what Siebel was meant to do, release them:",
                (f'membersync guards release {hold.id} --reason "the campaign that ended"',),
            ),
            Step(
                "If a job, a view or a workflow is broken, mend it, and discard what it sent; nobody is told:",
                (f'membersync guards discard {hold.id} --reason "the view was broken"',),
            ),
            Step("Until then they stay held, however long; nothing of it is sent or told by itself."),
        )
    by_itself = (
        f"If nobody decides, one of them is tried from time to time, and the rest follow when it gets through; after "
        f"{of.same_error_held_max_s / 3600:.3g} h they are told Data Error."
    )
    return (
        Step("See what is held, and what one of them looks like:", ("membersync guards",)),
        Step("Mend what is broken (a lookup row, a setting of MEMBERSYNC_OIC__, the flow in OIC), restart workers."),
        Step(
            "Then release them. If it was not mended, the first stops the rest, and they are held as before:",
            (f'membersync guards release {hold.id} --reason "the lookup row is mended"',),
        ),
        Step(
            "Only if the members are wrong indeed, have Siebel told:",
            (f'membersync guards discard {hold.id} --reason "wrong in Siebel"',),
        ),
        Step(by_itself),
    )


SILENCE = (
    "Changes of members may not reach us: a workflow that is off, an address or a credential that changed, a proxy; or "
    "there is nothing to send. Nothing is lost in Siebel; what was never sent a reconciliation finds."
)
"""What it means that Siebel has been silent for too long."""


def lasting(seconds: float) -> str:
    """Say how long, in the largest unit that tells it well."""
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def used_to(quiet: Silence) -> str:
    """Say what this hour of the week is used to."""
    if quiet.longest_s is None:
        limit = "nothing is too long" if quiet.limit_s is None else f"more than {lasting(quiet.limit_s)} is too long"
        return f"what is usual at this hour of the week is still being learned; until then {limit}"
    return f"at most {lasting(quiet.longest_s)} at this hour of the week, in {quiet.weeks} weeks"


def after_silence() -> tuple[Step, ...]:
    """Say how to find out why Siebel is silent."""
    return (
        Step("See whether it tries and is refused, by its token or for what it sends:", ("membersync refusals",)),
        Step("Touch one member in Siebel, and see whether its event comes:", ("membersync instances --limit 3",)),
        Step("If it does not: is the workflow active, does its outbound address still lead here?"),
        Step("Afterwards find what was never sent, and have it repaired:", ("membersync reconcile --wait",)),
    )
