"""The types of settings that are more than a number or a text.  What they refuse is never shown: it may be a secret."""

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


Optional = BeforeValidator(_blank_is_unset)
Host = Annotated[str, AfterValidator(hosts.canonical)]
OptionalHost = Annotated[str | None, _read(hosts.canonical), Optional]
PageUrl = Annotated[str | None, _read(web.page), Optional]
Url = Annotated[str | None, _read(web.canonical), Optional]
BaseUrl = Annotated[str | None, _read(web.base), Optional]
LedgerUrl = Annotated[str | None, _read(ledger.canonical), Optional]
BrokerUrl = Annotated[str | None, _read(broker.canonical), Optional]
Secret = Annotated[SecretStr | None, AfterValidator(_a_secret), Optional]
Tokens = Annotated[dict[str, Token], WrapValidator(_tokens)]
