"""The types of settings that are more than a number or a text.  What they refuse is never shown: it may be a secret."""

import re
from collections.abc import Callable
from typing import Annotated, Literal

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

from shared.addresses import broker, hosts, ledger, web

HIDDEN = ConfigDict(hide_input_in_errors=True)
"""For every model of settings."""
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
_NAMED_ADDRESS = re.compile(rf"({_ADDRESS.pattern}|[\w .-]*<{_ADDRESS.pattern}>)", re.ASCII | re.IGNORECASE)
Role = Literal["producer", "viewer", "operator", "admin"]


class Token(BaseModel):
    """Who a bearer token stands for."""

    model_config = HIDDEN

    name: str
    role: Role


def _blank_is_unset(value: object) -> object:
    return None if value == "" else value


def _read(address: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda value: None if value is None else address(value))


def _networks(value: str) -> str:
    return ",".join(map(str, hosts.networks(value)))


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


def _a_sender(value: str) -> str:
    if value and not _NAMED_ADDRESS.fullmatch(value):
        raise ValueError("must be an e-mail address, like membersync@example.org or membersync <it@example.org>")
    return value


def _recipients(value: str) -> str:
    found = [part.strip() for part in value.split(",") if part.strip()]
    if not all(map(_ADDRESS.fullmatch, found)):
        raise ValueError("must be e-mail addresses, separated by commas, like ann@example.org, bob@example.org")
    return ", ".join(found)


Optional = BeforeValidator(_blank_is_unset)
Host = Annotated[str, AfterValidator(hosts.canonical)]
OptionalHost = Annotated[str | None, _read(hosts.canonical), Optional]
Networks = Annotated[str, AfterValidator(_networks)]
PageUrl = Annotated[str | None, _read(web.page), Optional]
Url = Annotated[str | None, _read(web.canonical), Optional]
BaseUrl = Annotated[str | None, _read(web.base), Optional]
LedgerUrl = Annotated[str | None, _read(ledger.canonical), Optional]
BrokerUrl = Annotated[str | None, _read(broker.canonical), Optional]
Secret = Annotated[SecretStr | None, AfterValidator(_a_secret), Optional]
Tokens = Annotated[dict[str, Token], WrapValidator(_tokens)]
Sender = Annotated[str, AfterValidator(_a_sender)]
Recipients = Annotated[str, AfterValidator(_recipients)]
