"""Whether the settings are complete and mean what was meant."""

from collections.abc import Iterator
from difflib import get_close_matches

from deploy.local.environment import PREFIX, unknown, variables
from producers.doctor.finding import Finding, fail, ok, warn
from producers.doctor.subject import Subject
from shared.addresses.hosts import is_loopback
from shared.pipeline import Stage, spoken
from shared.settings import OicSettings, Settings

CHECK = "settings"
_ADDED = {Stage.OIC: "/ic", Stage.CROWDTWIST: "/v2", Stage.SIEBEL: "/siebel"}
_SOURCES = "the environment and .env"


def look(subject: Subject) -> list[Finding]:
    """Look for what is missing, open or misspelt."""
    found = [
        *_misspelt(subject.of),
        *_addresses(subject.of),
        *_too_long(subject.of),
        *_secrets(subject.of),
        *_tokens(subject.of),
    ]
    return found or [ok(CHECK, _SOURCES, "complete; no variable is misspelt")]


def _misspelt(of: Settings) -> Iterator[Finding]:
    known = {name.removeprefix(PREFIX): name for name, _ in variables(of)}
    for name in unknown(of):
        close = get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.7)
        meant = known[close[0]] if close else None
        found = f"{name} is no setting" + (f"; did you mean {meant}?" if meant else "")
        remedy = f"rename it to {meant}" if meant else "remove it; .env.example lists every setting"
        yield warn(CHECK, _SOURCES, found, "nobody reads it: what it should set has its default", remedy)


def _addresses(of: Settings) -> Iterator[Finding]:
    for stage in Stage:
        if of.connection(stage).base_url is None and not (stage is Stage.OIC and of.oic.mode == "builtin"):
            name = f"MEMBERSYNC_{stage.upper()}__BASE_URL"
            why = f"no call to {spoken(stage)} can be made; its instances fail until it is set"
            yield fail(CHECK, name, f"{name} is not set", why, f"set {name}; `membersync up` starts a simulator for it")


def _too_long(of: Settings) -> Iterator[Finding]:
    """Look for addresses that end in what is added to them; not refused, for a gateway may have such a path."""
    for stage, end in _ADDED.items():
        url = of.connection(stage).base_url or ""
        if url.lower().endswith(end):
            name = f"MEMBERSYNC_{stage.upper()}__BASE_URL"
            why = f"calls go to {url}{end}/…, which {spoken(stage)} answers with 404 for every member"
            yield fail(CHECK, name, f"{name} ends in {end}, and {end} is added to it", why, f"take {end} off its end")


def _secrets(of: Settings) -> Iterator[Finding]:
    for stage in Stage:
        missing = _missing(of, stage) if of.connection(stage).base_url else []
        if missing:
            names = ", ".join(f"MEMBERSYNC_{stage.upper()}__{name}" for name in missing)
            why = f"{spoken(stage)} refuses calls without credentials, and nothing is sent"
            yield fail(CHECK, f"credentials of {spoken(stage)}", f"{names}: not set", why, f"set {names}")


def _missing(of: Settings, stage: Stage) -> list[str]:
    match stage:
        case Stage.OIC:
            return [] if of.oic.mode == "builtin" else _missing_of_oic(of.oic)
        case Stage.CROWDTWIST:
            return [] if of.crowdtwist.api_key else ["API_KEY"]
        case Stage.SIEBEL:
            basic = {"USERNAME": of.siebel.username, "PASSWORD": of.siebel.password}
            return [] if of.siebel.token else [name for name, value in basic.items() if not value]


def _missing_of_oic(of: OicSettings) -> list[str]:
    if of.token_url:
        needed = {"CLIENT_ID": of.client_id, "CLIENT_SECRET": of.client_secret}
    else:
        needed = {"USERNAME": of.username, "PASSWORD": of.password}
    return [name for name, value in needed.items() if not value]


def _tokens(of: Settings) -> Iterator[Finding]:
    if of.api.tokens or (is_loopback(of.api.host) and not of.api.trusted_proxies):
        return
    is_open = "TRUSTED_PROXIES is set" if of.api.trusted_proxies else f"HOST is {of.api.host}"
    found = f"MEMBERSYNC_API__{is_open}, and MEMBERSYNC_API__TOKENS is not set"
    why = "the api does not start where other machines could reach it without a token"
    remedy = 'set MEMBERSYNC_API__TOKENS, {"<long random text>": {"name": "siebel", "role": "producer"}}'
    yield fail(CHECK, "MEMBERSYNC_API__TOKENS", found, why, remedy)
