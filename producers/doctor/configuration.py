"""Whether the settings are complete and mean what was meant, and how the connections stand that they name.

A connection's test is the one of `shared.systems`.  Its call is paid for out of the budget; no breaker learns of it.
"""

from collections.abc import Iterator
from datetime import UTC
from difflib import get_close_matches

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from deploy.local.programs import PREFIX, variables
from producers.doctor.check import Finding, Subject, fail, ok, warn
from producers.operations import connection_control
from producers.operations.advice import setting_at_fault
from shared.errors import LedgerError
from shared.hosts import is_loopback
from shared.ledger import checkup
from shared.ledger.engine import engine
from shared.ledger.records import ConnectionState
from shared.pipeline import Stage, spoken
from shared.settings import Settings

SETTINGS = "settings"
_ADDED = {Stage.OIC: "/ic", Stage.CROWDTWIST: "/v2", Stage.SIEBEL: "/siebel"}
_SOURCES = "the environment and .env"
_OF_OTHERS = {"MEMBERSYNC_TOKEN", "MEMBERSYNC_VERSION"}
"""Read by `membersync produce` and by compose.yaml."""
TESTED_WITHIN_S = 5.0


def look_at_settings(subject: Subject) -> list[Finding]:
    """Look for what is missing, open or misspelt."""
    found = [
        *_misspelt(subject.of),
        *_addresses(subject.of),
        *_credentials(subject.of),
        *_tokens(subject.of),
    ]
    return found or [ok(SETTINGS, _SOURCES, "complete; no variable is misspelt")]


def _misspelt(of: Settings) -> Iterator[Finding]:
    known = {name.removeprefix(PREFIX): name for name, _ in variables(of)}
    groups = {name.rpartition("__")[0] for name in known.values()}
    sources = (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings))
    given = {name.upper() for source in sources for name in source.env_vars if name.upper().startswith(PREFIX)}
    for name in sorted(given - {*known.values()} - groups - _OF_OTHERS):
        if any(name.startswith(f"{one}__") for one in known.values()):
            continue  # what a JSON setting holds may be given one by one: MEMBERSYNC_SIEBEL__FIELD_NAMES__ROW_ID
        close = get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.7)
        meant = known[close[0]] if close else None
        found = f"{name} is no setting" + (f"; did you mean {meant}?" if meant else "")
        remedy = f"rename it to {meant}" if meant else "remove it; .env.example lists every setting"
        yield warn(SETTINGS, _SOURCES, found, "nobody reads it: what it should set has its default", remedy)


def _addresses(of: Settings) -> Iterator[Finding]:
    """Look for addresses that are missing, or end in what is added to them.

    The latter are not refused, for a gateway may have such a path.
    """
    for stage in Stage:
        if of.connection(stage).base_url is None and not (stage is Stage.OIC and of.oic.mode == "builtin"):
            name = f"MEMBERSYNC_{stage.upper()}__BASE_URL"
            why = f"no call to {spoken(stage)} can be made; its instances fail until it is set"
            yield fail(
                SETTINGS, name, f"{name} is not set", why, f"set {name}; `membersync up` starts a simulator for it"
            )
    for stage, end in _ADDED.items():
        url = of.connection(stage).base_url or ""
        if url.lower().endswith(end):
            name = f"MEMBERSYNC_{stage.upper()}__BASE_URL"
            why = f"calls go to {url}{end}/…, which {spoken(stage)} answers with 404 for every member"
            yield fail(
                SETTINGS, name, f"{name} ends in {end}, and {end} is added to it", why, f"take {end} off its end"
            )


def _credentials(of: Settings) -> Iterator[Finding]:
    for stage in Stage:
        match stage:
            case Stage.OIC if of.oic.mode == "builtin":
                needed = {}
            case Stage.OIC if of.oic.token_url:
                needed = {"CLIENT_ID": of.oic.client_id, "CLIENT_SECRET": of.oic.client_secret}
            case Stage.OIC:
                needed = {"USERNAME": of.oic.username, "PASSWORD": of.oic.password}
            case Stage.CROWDTWIST:
                needed = {"API_KEY": of.crowdtwist.api_key}
            case Stage.SIEBEL if of.siebel.token:
                needed = {}
            case Stage.SIEBEL:
                needed = {"USERNAME": of.siebel.username, "PASSWORD": of.siebel.password}
        names = ", ".join(f"MEMBERSYNC_{stage.upper()}__{name}" for name, value in needed.items() if not value)
        if names and of.connection(stage).base_url:
            why = f"{spoken(stage)} refuses calls without credentials, and nothing is sent"
            yield fail(SETTINGS, f"credentials of {spoken(stage)}", f"{names}: not set", why, f"set {names}")


def _tokens(of: Settings) -> Iterator[Finding]:
    if of.api.tokens or (is_loopback(of.api.host) and not of.api.trusted_proxies):
        return
    is_open = "TRUSTED_PROXIES is set" if of.api.trusted_proxies else f"HOST is {of.api.host}"
    found = f"MEMBERSYNC_API__{is_open}, and MEMBERSYNC_API__TOKENS is not set"
    why = "the api does not start where other machines could reach it without a token"
    remedy = 'set MEMBERSYNC_API__TOKENS, {"<long random text>": {"name": "siebel", "role": "producer"}}'
    yield fail(SETTINGS, "MEMBERSYNC_API__TOKENS", found, why, remedy)


def look_at_connections(subject: Subject) -> list[Finding]:
    """Look at switch and breaker of each, as the ledger has them."""
    with subject.reading():
        pass  # a ledger that is away is said in one sentence, before the pool waits for it
    return [_judge(state) for state in connection_control.states(engine(subject.ledger_url), subject.of)]


def _judge(state: ConnectionState) -> Finding:
    check, looked_at = f"connection {state.name}", "switch and breaker in the ledger"
    since = "" if state.since is None else f" since {state.since.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    if state.state == "up":
        return ok(check, looked_at, f"up{since}")
    held = f"; {state.held} instances are held" if state.held else ""
    if state.state == "paused":
        if state.maintenance is not None and state.maintenance.state == "active":
            return ok(check, looked_at, f"planned, {state.paused_reason}{held}")
        found = f"paused by {state.paused_by}{since}: {state.paused_reason}{held}"
        why = "nothing is sent there until somebody resumes it, and Siebel is told nothing"
        return warn(
            check, looked_at, found, why, f"`membersync connections resume {state.name}`, if its reason is gone"
        )
    found = f"down{since}: {state.last_error or 'no error is known'}{held}"
    why = "what is due there is held and goes out by itself when it is back; no attempt is spent"
    setting = setting_at_fault(Stage(state.name), state.last_error or "")
    first = f"correct {setting}, restart api and workers; then " if setting else ""
    remedy = f"{first}`membersync connections test {state.name}`; a passed test heals at once"
    return fail(check, looked_at, found, why, remedy)


def test_connection(stage: Stage, subject: Subject) -> list[Finding]:
    """Test one connection, as its workers would reach it."""
    check, looked_at = f"test of {stage}", subject.of.connection(stage).base_url or "no address"
    if subject.offline:
        return [ok(check, looked_at, "not tested, as asked (--offline)")]
    of = subject.of.connection(stage)
    brief = {"timeout_s": min(of.timeout_s, TESTED_WITHIN_S)}
    if not can_pay(subject):
        brief["budget_per_minute"] = 0  # a ledger that is away keeps nobody from calling
    settings = subject.of.model_copy(update={stage.value: of.model_copy(update=brief)})
    found = connection_control.probed(engine(subject.ledger_url), stage, settings)
    if found.ok:
        return [ok(check, looked_at, f"{found.what} ({found.took_ms:.0f} ms)")]
    why = f"instances fail or are held at {spoken(stage)} while this is so"
    remedy = f"correct what the sentence names; then `membersync connections test {stage}`"
    return [fail(check, looked_at, f"{found.what} [{found.code}]", why, remedy)]


def can_pay(subject: Subject) -> bool:
    """Return whether a call can be paid for: the budget's ledger is there, and takes writes."""
    if subject.of.ledger_url is None:
        return False
    try:
        with subject.reading() as tx:
            return not checkup.server(tx).read_only
    except LedgerError:
        return False
