"""The settings as they may be shown and kept: no secret, no login, no person, no address with a password.  Pure."""

import json
from collections.abc import Iterator

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from shared.masking import mask_text

_LEFT_OUT = {
    *("ledger_url", "ledger_direct_url", "broker_url", "url", "tokens"),
    *("username", "password", "sender", "recipients", "home"),
}
_OF_ONE_PROCESS = {"metrics_port"}
"""Two dispatchers of one host differ in it, and are set alike all the same."""
_LONGEST = 200


def shown(of: BaseModel) -> dict[str, str]:
    """Return the settings by the name of their variable; unset is empty."""
    return dict(_shown(of, "MEMBERSYNC_"))


def _shown(of: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in type(of).model_fields.items():
        value, variable = getattr(of, name), f"{prefix}{(field.alias or name).upper()}"
        if isinstance(value, BaseModel):
            yield from _shown(value, f"{variable}__")
        elif (
            name in _LEFT_OUT | _OF_ONE_PROCESS or isinstance(value, SecretStr) or "SecretStr" in str(field.annotation)
        ):
            continue
        elif isinstance(value, dict | list | tuple):
            yield variable, mask_text(json.dumps(to_jsonable_python(value), sort_keys=True))[:_LONGEST]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield variable, f"{value:.12g}"  # 30 and 30.0 are the same setting
        else:
            yield variable, "" if value is None else mask_text(str(value))[:_LONGEST]
