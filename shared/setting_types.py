"""How settings are read: the types that are more than a number or a text, and what is wrong with them, in words.

No value is ever shown, for it may be a secret.  pydantic shows it, and the way to it, in which a token of
`MEMBERSYNC_API__TOKENS` is a step.
"""

import re
from collections.abc import Callable
from typing import Annotated, Literal, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_settings import SettingsError as UnreadError

from shared import hosts
from shared.addresses import base_url, canonical_ledger, canonical_url, page_url
from shared.broker_address import canonical_broker
from shared.errors import SettingsInvalidError, without_kind
from shared.reconciling import DriftClass

HIDDEN = ConfigDict(hide_input_in_errors=True)
"""For every model of settings."""
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
_NAMED_ADDRESS = re.compile(rf"({_ADDRESS.pattern}|[\w .-]*<{_ADDRESS.pattern}>)", re.ASCII | re.IGNORECASE)
KEY_MIN = 24
"""Characters; fewer could be tried one by one by whoever has recorded a signed body."""
Role = Literal["producer", "viewer", "operator", "admin"]


class Token(BaseModel):
    """Who a bearer token stands for."""

    model_config = HIDDEN

    name: str
    role: Role


def _read(address: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda value: None if value is None else address(value))


def _sendable(value: str) -> bool:
    return value.isprintable() and value == value.strip() != ""


def _a_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not _sendable(value.get_secret_value()):
        raise ValueError("must have no blanks around it, and nothing in it that cannot be seen")
    return value


def _tokens(value: object, check: ValidatorFunctionWrapHandler) -> dict[str, Token]:
    # pydantic would name the token, as the way to what is wrong with it.
    found: dict[str, Token] | None
    try:
        found = check(value)
    except ValidationError:
        found = None
    if found is None or not all(map(_sendable, found)):
        raise ValueError('must be {"token": {"name": "…", "role": "producer|viewer|operator|admin"}}, no token blank')
    return found


def _signing_keys(value: object, check: ValidatorFunctionWrapHandler) -> dict[str, list[SecretStr]]:
    found: dict[str, list[SecretStr]] | None
    try:
        found = check(value)
    except ValidationError:
        found = None
    keys = [] if found is None else list(found.values())
    is_whole = all(keys) and all(
        _sendable(key.get_secret_value()) and len(key.get_secret_value()) >= KEY_MIN for some in keys for key in some
    )
    if found is None or not is_whole:
        raise ValueError(f'must be {{"name": ["key"]}}, each key of {KEY_MIN} characters at least, no blanks around it')
    return found


def _a_sender(value: str) -> str:
    if value and not _NAMED_ADDRESS.fullmatch(value):
        raise ValueError("must be an e-mail address, like membersync@example.org or membersync <it@example.org>")
    return value


def _recipients(value: str) -> str:
    found = [part.strip() for part in value.split(",") if part.strip()]
    if not all(map(_ADDRESS.fullmatch, found)):
        raise ValueError("must be e-mail addresses, separated by commas, like ann@example.org, bob@example.org")
    return ", ".join(found)


def _drift_classes(value: str) -> str:
    found = [part.strip() for part in value.split(",") if part.strip()]
    if not set(found) <= set(DriftClass):
        raise ValueError(f"must be of {', '.join(DriftClass)}, separated by commas")
    return ",".join(found)


def _trace_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or value.count(TRACE_ID) != 1 or not _sendable(value):
        raise ValueError(f"must be an http:// or https:// address with {TRACE_ID} in it, once")
    return value


TRACE_ID = "{trace_id}"
"""Stands in the address of a trace's page for its id."""
Optional = BeforeValidator(lambda value: None if value == "" else value)
Host = Annotated[str, AfterValidator(hosts.canonical)]
OptionalHost = Annotated[str | None, _read(hosts.canonical), Optional]
Networks = Annotated[str, AfterValidator(lambda value: ",".join(map(str, hosts.networks(value))))]
PageUrl = Annotated[str | None, _read(page_url), Optional]
Url = Annotated[str | None, _read(canonical_url), Optional]
BaseUrl = Annotated[str | None, _read(base_url), Optional]
LedgerUrl = Annotated[str | None, _read(canonical_ledger), Optional]
BrokerUrl = Annotated[str | None, _read(canonical_broker), Optional]
TraceUrl = Annotated[str | None, _read(_trace_url), Optional]
Secret = Annotated[SecretStr | None, AfterValidator(_a_secret), Optional]
Tokens = Annotated[dict[str, Token], WrapValidator(_tokens)]
SigningKeys = Annotated[dict[str, list[SecretStr]], WrapValidator(_signing_keys)]
Sender = Annotated[str, AfterValidator(_a_sender)]
Recipients = Annotated[str, AfterValidator(_recipients)]
DriftClasses = Annotated[str, AfterValidator(_drift_classes)]


_FIELD = re.compile(r'field "(\w+)"')


def invalid(error: ValidationError | UnreadError, settings: type[BaseModel]) -> SettingsInvalidError:
    """Return what *error*, of reading *settings*, means."""
    if isinstance(error, UnreadError):
        names = " or ".join(_unread(str(error), settings))
        return SettingsInvalidError(f"the settings cannot be read: {names} is not valid JSON", [])
    flaws = []
    for one in error.errors(include_input=False):
        known, words = _known(one["loc"], settings), without_kind(one["msg"])
        flaws.append(f"{_variable(known)}: {words}" if known else words)
    return SettingsInvalidError("the settings are not valid", flaws)


def _unread(said: str, settings: type[BaseModel]) -> list[str]:
    """Return the variables that pydantic-settings may mean: it says which group of settings it could not read."""
    found = _FIELD.search(said)
    group = found[1] if found else ""
    kind = settings.model_fields[group].annotation if group in settings.model_fields else None
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return [_variable((group,) if group else ())]
    inside = [name for name, field in kind.model_fields.items() if get_origin(field.annotation) is dict]
    return [_variable((group, name)) for name in inside] or [_variable((group,))]


def _known(path: tuple[int | str, ...], settings: type[BaseModel]) -> tuple[int | str, ...]:
    """Return as much of *path* as is ours: names of settings, not what somebody wrote."""
    kind: object = settings
    for length, step in enumerate(path):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return path[:length]
        fields = {field.alias or name: field for name, field in kind.model_fields.items()} | kind.model_fields
        if step not in fields:
            return path[:length]
        kind = fields[str(step)].annotation
    return path


def _variable(path: tuple[int | str, ...]) -> str:
    return "MEMBERSYNC_" + "__".join(str(part) for part in path).upper() if path else "MEMBERSYNC_…"
