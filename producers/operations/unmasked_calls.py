"""The calls of an instance as they were made, for whoever may see people.  Pure.

Calls are kept masked.  What a masked value stood for is looked up, by its name, in what the instance carries: its
event, and the CrowdTwist user made of it.  It is put back only where its mask is what was kept, so that nothing is
shown that was not sent; what we do not have, such as words of the other side, stays masked.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from shared.fields import labels as siebel_labels
from shared.ledger.records import InstanceRecord, InstanceWithActivity
from shared.masking import MASK, mask, mask_email
from shared.personal import unmarked

_R = TypeVar("_R", bound=InstanceRecord)
_S = TypeVar("_S", bound=InstanceWithActivity)
_WRITTEN_ANEW = {"date_of_birth"}
"""Fields that Siebel's message writes in another form than the event."""


def revealed(story: _S, event: Mapping[str, Any] | None, user: Mapping[str, Any] | None) -> _S:
    """Give *story* with its calls as they were made, as far as *event* and *user* tell."""
    member: Mapping[str, Any] = (event or {}).get("member") or {}
    known = {
        label: str(member[field])
        for field, labels in siebel_labels().items()
        for label in labels
        if field in member and field not in _WRITTEN_ANEW
    }
    known |= user or {}
    addresses = {str(one) for one in (member.get("email_address"), known.get("email_address")) if one}
    masks = {masked: address for address in addresses if (masked := mask_email(address)) != MASK}
    activity = [
        replace(
            line,
            what=_text(line.what, masks),
            calls=[
                {
                    name: _filled(name, part, known, masks) if name in {"request", "response"} else part
                    for name, part in call.items()
                }
                for call in line.calls
            ],
        )
        for line in story.activity
    ]
    return replace(unhidden(story), activity=activity)


def unhidden(record: _R) -> _R:
    """Give *record* with the words of the other side as they were said."""
    return replace(record, error=unmarked(record.error))


def _filled(name: str, kept: Any, known: Mapping[str, Any], masks: Mapping[str, str]) -> Any:  # noqa: ANN401  # JSON
    if isinstance(kept, Mapping):
        return {inner: _filled(inner, part, known, masks) for inner, part in kept.items()}
    if isinstance(kept, list):
        return [_filled(name, part, known, masks) for part in kept]
    if name in known and mask({name: known[name]})[name] == kept:
        return known[name]
    return _text(kept, masks) if isinstance(kept, str) else kept


def _text(words: str, masks: Mapping[str, str]) -> str:
    for masked, address in masks.items():
        words = words.replace(masked, address)
    return words
