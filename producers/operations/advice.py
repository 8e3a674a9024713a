"""What a failure is, in a few words, and what to do about it: one table, by code, for pages, mail and terminals.  Pure.

Source: domain.md section 0 and the field labels of its section 1.5.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import DataError
from shared.ledger.causes import Alike
from shared.ledger.snapshots import Holds, SnapshotHolder
from shared.pipeline import FAILURE_STATUS, SYSTEMS, Stage, spoken
from shared.settings import Settings

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
_LOGINS = {
    Stage.OIC: (
        "MEMBERSYNC_OIC__USERNAME and __PASSWORD, or __CLIENT_ID, __CLIENT_SECRET, __SCOPE and __TOKEN_URL",
        "login refused",
    ),
    Stage.CROWDTWIST: ("MEMBERSYNC_CROWDTWIST__API_KEY, or __AUTH", "API key refused"),
    Stage.SIEBEL: ("MEMBERSYNC_SIEBEL__USERNAME and __PASSWORD, or __TOKEN", "login refused"),
}
"""By connection: the settings that it logs in with, and what is said when that is refused."""
_FIRST_ONE = "send one from here first, then the rest"


@dataclass(frozen=True, slots=True)
class Advice:
    """One row of the table.

    Shape: *code* of the dead letter; *said* what its message says, a pattern of our own words, "" for any; *cause* in
    a few words; *todo* in one or two sentences; *apart* the cause where the system served others meanwhile, "" for the
    same.  `{system}`, `{login}`, `{refused}` and `{prefix}` are filled in.
    """

    code: str
    said: str
    cause: str
    todo: str
    apart: str = ""


TABLE: tuple[Advice, ...] = (
    Advice(
        "unauthorised",
        "",
        "{system} {refused}",
        "{system} refused our credentials: test the connection. If that fails too, correct {login}, restart api and "
        "workers, test it again; if it passes, it is these members that are refused: look at what one of them sends; "
        f"{_FIRST_ONE}.",
        apart="{system} refused these members",
    ),
    Advice(
        "unavailable",
        r"integration is not there|not active",
        "{system} integration not active",
        "Activate the integration in {system}, or correct {prefix}FLOW_CODE and __FLOW_VERSION; test the connection; "
        f"{_FIRST_ONE}.",
    ),
    Advice(
        "unavailable",
        r"not JSON|not its own|user object|cannot be reached as expected|sent us elsewhere",
        "something else than {system} answered",
        "Not {system} itself answered, but what the message shows: a proxy, a gateway, a login page, or a wrong "
        f"{{prefix}}BASE_URL. Put that right, test the connection; {_FIRST_ONE}.",
    ),
    Advice(
        "unavailable",
        r"HTTP 5\d\d|answered 5\d\d",
        "{system} failed on these members",
        "{system} was up and failed on these members again and again, so its test passes and says nothing about them: "
        f"look at what one of them sends, give its number to those who run {{system}}; {_FIRST_ONE}.",
    ),
    Advice(
        "unavailable",
        "",
        "{system} could not serve them",
        f"{{system}} answered, and could not serve these: see what the message says, test it; {_FIRST_ONE}.",
    ),
    Advice(
        "throttled",
        "",
        "{system} asked us to wait",
        "{system} gets more calls than it takes: lower {prefix}BUDGET_PER_MINUTE, and requeue with a rate.",
    ),
    Advice(
        "unreachable",
        r"(?i)certificate|\btls\b|\bssl\b",
        "{system}'s certificate is not trusted",
        "The certificate of {system} is not trusted here: give SSL_CERT_FILE the company's own CA, or have it renewed; "
        f"test the connection; {_FIRST_ONE}.",
    ),
    Advice(
        "unreachable",
        "",
        "{system} could not be reached",
        "Nothing was sent: see {prefix}BASE_URL, the name server, the firewall and the proxy; test the connection; "
        f"{_FIRST_ONE}.",
    ),
    Advice(
        "outcome_unknown",
        "",
        "{system} did not answer in time",
        "It was sent and no answer came. A requeue asks first what became of it, so nothing is done twice; where it is "
        f"always late, raise {{prefix}}TIMEOUT_S; {_FIRST_ONE}.",
    ),
    Advice(
        "bug",
        "",
        "an error of membersync",
        "An error of membersync: its log has the traceback by instance id. A requeue before it is mended fails again.",
    ),
    Advice(
        "worker_lost",
        "",
        "workers died with them",
        f"Workers died with it again and again: look at their memory and logs; {_FIRST_ONE}.",
    ),
)
TOLD_APART = frozenset(one.code for one in TABLE if one.said)
"""Codes whose causes only the message tells apart."""
_ANY = Advice("", "", "{code} at {system}", f"See what the message says; {_FIRST_ONE}.")


def row(code: str | None, message: str) -> Advice:
    """Return the row of the table for a code and what was said."""
    return next((one for one in TABLE if one.code == code and re.search(one.said, message)), _ANY)


def for_dead_letter(stage: str | None, code: str | None, message: str = "") -> str:
    """Say what to do about dead letters of one cause."""
    return _filled(row(code, message).todo, stage, code)


def cause(stage: str | None, code: str | None, message: str = "", *, apart: bool = False) -> str:
    """Say in a few words why something was given up; *apart*: the system served others meanwhile."""
    found = row(code, message)
    return _filled((apart and found.apart) or found.cause, stage, code)


def for_failure(stage: str | None, code: str | None, message: str = "") -> str:
    """Say what to do about what failed for one cause, be it a dead letter or a Data Error."""
    return for_data_error(message) if code == DataError.code else for_dead_letter(stage, code, message)


def by_todo(failures: Iterable[Alike]) -> dict[str, int]:
    """Return what is to be done, and for how many of *failures*, the most first."""
    counted: Counter[str] = Counter()
    for one in failures:
        counted[for_failure(one.stage, one.code, one.message)] += one.count
    return dict(counted.most_common())


def setting_at_fault(stage: Stage, message: str) -> str:
    """Say which setting is wrong where a connection is down for what it was told; nothing where that is not known.

    Shape: *message* as the clients write it; a test holds their words and these together.
    """
    return _LOGINS[stage][0] if re.search(r"refused our (?:credentials|client)", message) else ""


def for_data_error(message: str) -> str:
    """Say what to correct in Siebel."""
    for pattern, field in _FIELDS:
        if re.search(pattern, message, re.IGNORECASE):
            return f"Correct {field} in Siebel; the update is sent by itself."
    return "Correct in Siebel what the message names; the update is sent by itself."


def _filled(words: str, stage: str | None, code: str | None) -> str:
    known = Stage(stage) if stage in tuple(Stage) else None
    login, refused = _LOGINS[known] if known else ("the credentials of the connection", "login refused")
    system = SYSTEMS[known] if known else "the other system"
    prefix = f"MEMBERSYNC_{known.upper()}__" if known else ""
    return words.format(system=system, login=login, refused=refused, prefix=prefix, code=spoken(code or "failed"))


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
_CHECKS = {
    Stage.OIC: "Make sure that OIC is up, that the integration {flow} is active, that our credentials are right.",
    Stage.CROWDTWIST: "Make sure that CrowdTwist is up, that this is not its maintenance, and that our API key is "
    "right.",
    Stage.SIEBEL: "Make sure that Siebel's REST interface is up, and that our credentials are right.",
}


DRIFT = (
    "A reconciliation compares what Siebel and CrowdTwist have now with what was accepted and acknowledged. What is on "
    "its way is no difference; what differs twice, some time apart, does not mend itself."
)
"""What reconciliations are."""


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
    window = f"{settings.incidents.flap_s / 60:.3g} min"
    again = f"If it is down again within {window}, that is the same incident: you are told only if it lasts as long."
    return f"{IS_BACK} {again}"


def when_many_fail(settings: Settings) -> str:
    """Say what it means that many members end for one cause."""
    rules = settings.incidents
    return (
        f"More than {rules.cause_count} members ended at one stage for one cause within "
        f"{rules.cause_window_s / 60:.3g} min, and more than {rules.cause_share:.0%} of those whom it decided on: that "
        "is rarely the members. It is resolved when no more of them come."
    )


def see_incident(incident_id: str) -> tuple[Step, ...]:
    """Say where an incident is seen, and how it is taken up."""
    return (
        Step("See what it is, whom it affects and what it costs:", (f"membersync incidents {incident_id}",)),
        Step("See who they are:", (f"membersync instances --incident {incident_id}",)),
        Step("Let the others know that you have it:", (f"membersync incidents {incident_id} --acknowledge",)),
    )


def bring_back(stage: Stage, settings: Settings, error: str = "") -> tuple[Step, ...]:
    """Say how to bring a connection back that is down with this *error*."""
    setting = setting_at_fault(stage, error)
    check = _CHECKS[stage].format(flow=settings.oic.flow_code)
    return (
        Step("See how it stands now:", ("membersync connections",)),
        Step(f"Correct {setting}, and restart api and workers." if setting else check),
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


HELD = (
    "As long as it is held, no row that has died since can be cleared away: statements walk past them, everything gets "
    "slower by the minute, and tables grow. Nothing is lost."
)
"""What it means that somebody holds an old snapshot of the ledger."""


def let_go(holder: SnapshotHolder) -> str:
    """Say what ends a snapshot that is held."""
    match holder.holds:
        case Holds.SESSION:
            first = "let it end by itself, or " if holder.is_working else ""
            return f"{first}end it in the ledger: `select pg_terminate_backend({holder.name})`"
        case Holds.SLOT:
            gone = f"if that is gone for good: `select pg_drop_replication_slot('{holder.name}')`"
            return f"bring its consumer back, or {gone}"
        case Holds.PREPARED:
            return f"whoever prepared it must end it: `commit prepared '{holder.name}'` or `rollback prepared '…'`"
        case Holds.STANDBY:
            return "end the long query on that standby, or set hot_standby_feedback off there"


def _options(codes: tuple[str, ...]) -> str:
    return " ".join(f"--code {code}" for code in codes)
