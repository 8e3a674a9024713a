"""What a trouble means and what to do about it, by the troubleshooting steps of Oracle's member synchronization page.

OIC Failure: test the connection, make sure that the integration is active.  CT Failure: test the connection, requeue
(OIC: resubmit).  Data Error: correct the member in Siebel.
"""

from dataclasses import dataclass

from producers.operations.advice import setting_at_fault
from shared.pipeline import FAILURE_STATUS, SYSTEMS, Stage
from shared.settings import Settings

OURS = ("bug", "worker_lost")
"""Codes of dead letters for which no outside system is to blame."""

IS_BACK = (
    "What was held goes out by itself, the newest state of each member, the live lane first, slowly at the beginning "
    "and within the budget. There is nothing to do."
)
DATA_ERROR = (
    "The members' own data was refused. Siebel shows CT Sync Status = Data Error and the reason in CT Sync Error. "
    "It is not tried again as it is."
)
DEAD = (
    "Each was tried to the last attempt against a system that was up: an outage alone makes no dead letters. They stay "
    "until somebody requeues or discards them, or a newer change of the member succeeds."
)
UNTOLD = f"What came of these changes is settled, but Siebel does not show it. {DEAD}"
BUG = (
    "membersync itself failed on these: an unexpected error, or a worker that died with the same instance again and "
    "again. They are not tried any more; all others go on."
)

_WAITS = {
    Stage.OIC: "Changes of members are held before the OIC member sync flow.",
    Stage.CROWDTWIST: "Changes of members are held before CrowdTwist.",
    Stage.SIEBEL: "CrowdTwist goes on receiving changes; CT Sync Status and CT Sync Error in Siebel lag behind.",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and the commands to type for it."""

    what: str
    commands: tuple[str, ...] = ()


def when_down(stage: Stage, settings: Settings, error: str = "") -> str:
    """Say what it means that a connection is down, for this *error*; pages say the same."""
    if setting := setting_at_fault(stage, error):
        comes_back = f"it does not come back before {setting} is corrected, and api and workers are restarted. "
        return f"{SYSTEMS[stage]} refuses our credentials: {comes_back}" + when_down(stage, settings)
    probe_s = settings.connection(stage).probe_cap_s
    means = (
        f"{_WAITS[stage]} Nothing is lost and no attempt is spent. membersync probes it, at most {probe_s:g} s apart, "
        "and what is held goes out by itself when it is back: nobody has to requeue it."
    )
    if stage not in FAILURE_STATUS:
        return means
    return (
        f"{means} Members that wait for longer than {settings.siebel.report_after_s:g} s show CT Sync Status = "
        f"{FAILURE_STATUS[stage]} in Siebel until then."
    )


def when_back(settings: Settings) -> str:
    """Say what it means that a connection is back."""
    if not settings.mail.flap_s:
        return IS_BACK
    window = f"{settings.mail.flap_s / 60:.3g} min"
    again = f"If it is down again within {window}, that is the same outage: you are told only if it lasts as long."
    return f"{IS_BACK} {again}"


def bring_back(stage: Stage, settings: Settings, error: str = "") -> tuple[Step, ...]:
    """Say how to bring a connection back that is down with this *error*."""
    setting = setting_at_fault(stage, error)
    cure = f"Correct {setting}, and restart api and workers." if setting else _check(stage, settings)
    return (
        Step("See how it stands now:", ("membersync connections",)),
        Step(cure),
        Step("Then test it. A test that passes brings it back at once:", (f"membersync connections test {stage}",)),
        Step(
            "If it is meant to be away for a while, pause it, and resume it afterwards:",
            (
                f'membersync connections pause {stage} --reason "their maintenance"',
                f"membersync connections resume {stage}",
            ),
        ),
    )


def after_outage() -> tuple[Step, ...]:
    """Say how to see that what was held goes out."""
    return (Step("To watch it go out:", ("membersync status",)),)


def requeue(stage: Stage, codes: tuple[str, ...]) -> tuple[Step, ...]:
    """Say what to do about dead letters of *stage*."""
    which = f"--stage {stage} {_options(codes)}"
    return (
        Step(
            f"Put right what is said beside each cause. Whether {SYSTEMS[stage]} serves us at all, a test says:",
            (f"membersync connections test {stage}",),
        ),
        Step("If somebody paused the connection, resume it:", (f"membersync connections resume {stage}",)),
        Step("Look at the dead letters:", (f"membersync dead-letters {which} --list",)),
        Step(
            "Requeue them. It shows first what will happen, and sends 1, then 10, then the rest:",
            (f'membersync requeue {which} --reason "{SYSTEMS[stage]} is well again"',),
        ),
    )


def find_bug(codes: tuple[str, ...]) -> tuple[Step, ...]:
    """Say what to do about dead letters that are our own fault."""
    which = _options(codes)
    return (
        Step(
            "See which they are; the workers' log says more by instance id:",
            (f"membersync dead-letters {which} --list",),
        ),
        Step("Tell whoever maintains membersync. A requeue before it is mended fails again."),
        Step("Afterwards requeue them:", (f'membersync requeue {which} --reason "mended"',)),
    )


def correct() -> tuple[Step, ...]:
    """Say what to do about Data Errors."""
    return (
        Step("See which members they are:", ("membersync dead-letters --state rejected --list",)),
        Step("Correct each member in Siebel. Saving it sends it again; nobody has to requeue it."),
        Step(
            "Only if a setting of membersync was at fault, correct that and map them again. It shows first what will "
            "happen, to every Data Error that there is; --since, --stage and --text narrow it:",
            ('membersync requeue --state rejected --from-start --reason "the setting is corrected"',),
        ),
    )


def _check(stage: Stage, settings: Settings) -> str:
    match stage:
        case Stage.OIC:
            flow = settings.oic.flow_code
            return f"Make sure that OIC is up, that the integration {flow} is active, that our credentials are right."
        case Stage.CROWDTWIST:
            return "Make sure that CrowdTwist is up, that this is not its maintenance, and that our API key is right."
        case Stage.SIEBEL:
            return "Make sure that Siebel's REST interface is up, and that our credentials are right."


def _options(codes: tuple[str, ...]) -> str:
    return " ".join(f"--code {code}" for code in codes)
