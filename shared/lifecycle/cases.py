"""Data Errors as cases: of which kind one is, who is in its way, and whether it is over.  Pure.

| kind                | what it is                                                                          |
|---------------------|-------------------------------------------------------------------------------------|
| `taken_by_active`   | the e-mail address is another member's, who is active and keeps it                  |
| `taken_by_inactive` | the same, of one who is inactive: whoever is deleted in Siebel keeps its address    |
| `chain`             | whoever has the address wants another one, and does not have it yet                 |
| `cycle`             | the same, and it leads back: members who want each other's addresses                |
| `outside_holder`    | whoever has the address is no member of whom an event ever came, or is not shown    |
| `format`            | a value breaks a rule: which, and, where it is one character, that                  |
| `missing`           | a field that CrowdTwist wants is empty                                              |
| `other`             | nothing of these; or who has the address is not known yet                           |

What is there decides: the value itself, who has the address by the ledger, whom CrowdTwist shows.  The words of a
refusal only say which field it is about, and, where nothing else tells, what is wrong with it: (A), in one table here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.fields import FIELDS, Part
from shared.pipeline import QUEUED, Stage, State, SyncStatus
from shared.published_rules import broken

RETRIES_MAX = 3
"""So often a member is sent again for an address that CrowdTwist shows nobody to have, and refuses all the same."""
LONGEST_PATH = 20
"""Members that are followed from one to the next; as with those who wait for an address."""


class CaseKind(StrEnum):
    """What a case is, as the table above says."""

    TAKEN_BY_ACTIVE = "taken_by_active"
    TAKEN_BY_INACTIVE = "taken_by_inactive"
    CHAIN = "chain"
    CYCLE = "cycle"
    OUTSIDE_HOLDER = "outside_holder"
    FORMAT = "format"
    MISSING = "missing"
    OTHER = "other"


class Closing(StrEnum):
    """How a case came to its end."""

    CORRECTED = "corrected"
    """A newer event of the member was accepted."""
    HOLDER_MOVED = "holder_moved"
    """The address became free, and the same event was accepted."""
    DELETED = "deleted"
    """The member was deleted, and is inactive in CrowdTwist."""
    SENT_AGAIN = "sent_again"
    """Somebody sent the same again, and it was accepted."""
    OVERTAKEN = "overtaken"
    """The newest event of the member is no Data Error any more, and was not accepted either."""
    DISCARDED = "discarded"
    PRUNED = "pruned"
    """The instance is older than what is kept."""


class LookUp(StrEnum):
    """What CrowdTwist showed when it was asked who has the address."""

    FOUND = "found"
    NOBODY = "nobody"
    OWN = "own"
    """The member itself."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What was refused.

    Shape: *words* of whoever refused it; *user* as sent to CrowdTwist, None: it never came to that; *member* of the
    event.
    """

    words: str
    user: Mapping[str, object] | None
    member: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the address.

    Shape: *member_number* None: CrowdTwist shows a user without; *is_ours*: an event of it has come; *is_active* None:
    not known; *moves*: its newest event wants another address, which CrowdTwist has not taken.
    """

    member_number: str | None
    is_ours: bool
    is_active: bool | None
    moves: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What a case is.  Shape: *field* in the event's words, None: not known; *rule* and *character* of a `format`."""

    kind: CaseKind
    field: str | None = None
    rule: str | None = None
    character: str | None = None


def judge(refused: Refused, holder: Holder | None, looked: LookUp | None, *, in_ring: bool) -> Finding:
    """Say what a case is; *holder* None: not known; *in_ring*: who has the address leads back to this member."""
    field = field_named(refused.words)
    flaw = _flaw(refused, field)
    if field in (None, _EMAIL) and (_SAYS_TAKEN.search(refused.words) or (holder is not None and flaw is None)):
        return Finding(_taken(holder, looked, in_ring=in_ring), _EMAIL)
    empty = _empty(refused, field)
    if empty is not None:
        return Finding(CaseKind.MISSING, empty)
    if flaw is not None:
        return flaw
    if field is not None and _SAYS_MALFORMED.search(refused.words):
        return Finding(CaseKind.FORMAT, field)
    return Finding(CaseKind.OTHER, field)


def is_about_address(finding: Finding) -> bool:
    """Return whether somebody may be in the way of an address: it is asked who."""
    return finding.field == _EMAIL and finding.kind not in (CaseKind.FORMAT, CaseKind.MISSING)


def _taken(holder: Holder | None, looked: LookUp | None, *, in_ring: bool) -> CaseKind:
    if holder is None:  # it is refused as taken, and nobody is shown who has it
        return CaseKind.OUTSIDE_HOLDER if looked is LookUp.NOBODY else CaseKind.OTHER
    if in_ring:
        return CaseKind.CYCLE
    if not holder.is_ours:
        return CaseKind.OUTSIDE_HOLDER
    if holder.moves:
        return CaseKind.CHAIN
    return CaseKind.TAKEN_BY_INACTIVE if holder.is_active is False else CaseKind.TAKEN_BY_ACTIVE


def _flaw(refused: Refused, field: str | None) -> Finding | None:
    user = refused.user if refused.user is not None else _as_user(refused.member)
    for one in broken(user):
        name = _NAME_OF[one.field]
        if field in (None, name):
            return Finding(CaseKind.FORMAT, name, one.rule, one.character)
    return None


def _empty(refused: Refused, field: str | None) -> str | None:
    """Return the field that is empty: the one that the refusal names, else one that every user must have.

    What Siebel has filled in is not missing there, whatever the flow left out.
    """
    user = refused.user if refused.user is not None else _as_user(refused.member)
    for name in [field] if field is not None else _WANTED:
        values = [*(user.get(sent) for sent in _SENT_AS[name]), refused.member.get(name)]
        if all(value in (None, "") for value in values):
            return name
    return None


def _as_user(member: Mapping[str, object]) -> dict[str, object]:
    return {sent: member.get(name) for name, alone in _SENT_AS.items() for sent in alone}


def field_named(words: str) -> str | None:
    """Return the field that a refusal names, in the event's words: by a label of Siebel, or CrowdTwist's own name."""
    said = words.casefold()
    return next((name for phrase, name in _PHRASES if re.search(rf"(?<!\w){phrase}(?!\w)", said)), None)


_EMAIL = "email_address"
_WANTED = ("first_name", "last_name", _EMAIL)
_SENT_AS = {
    field.name: tuple(sent for sent in field.sent_as if len(field.sent_as) == 1 or sent == field.name)
    for field in FIELDS
    if field.part is not Part.EVENT and field.sent_as
}
_NAME_OF = {sent: name for name, alone in _SENT_AS.items() for sent in alone}


def _phrases() -> list[tuple[str, str]]:
    """Return what fields are called in refusals, the longest first, as patterns."""
    said = {
        phrase.casefold(): field.name
        for field in FIELDS
        if field.name in _SENT_AS
        for phrase in (*field.labels, *_SENT_AS[field.name], field.name)
        if len(phrase) > _SHORTEST
    }
    said |= {"e-mail": _EMAIL, "email": _EMAIL, "postcode": "postal_code", "zip code": "postal_code"}
    patterns = {re.sub(r"[\s_]+", r"[ _]", re.escape(one.replace(" ", "_"))): name for one, name in said.items()}
    return sorted(patterns.items(), key=lambda one: (-len(one[0]), one))


_SHORTEST = 3
_PHRASES = _phrases()
_SAYS_TAKEN = re.compile(r"\b(taken|in use|used|exists|duplicate|not unique|unique)\b", re.IGNORECASE)
_SAYS_MALFORMED = re.compile(
    r"\b(invalid|not valid|malformed|format|form|may hold only|is not a|more than|too long|too short)\b", re.IGNORECASE
)


def path(member: str, edges: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """Follow who has what each wants: *edges* lead from a member to whoever has the address that it wants.

    Returns the members from the one after *member* on, each once, and whether the last of them leads back to *member*.
    """
    found: list[str] = []
    at = edges.get(member)
    while at is not None and at != member and at not in found and len(found) < LONGEST_PATH:
        found.append(at)
        at = edges.get(at)
    return tuple(found), bool(found) and at == member


def unblocked(edges: Mapping[str, str]) -> dict[str, int]:
    """Count, of each member that somebody waits for, those who wait for it, one behind the other.  Linear in *edges*.

    Where they wait in a ring, each waits for all others of it, and who waits for one of them waits for all.
    """
    waits = dict.fromkeys(edges, 0)
    before = dict.fromkeys(edges, 0)
    for holder in edges.values():
        waits.setdefault(holder, 0)
        before[holder] = before.get(holder, 0) + 1
    free = [member for member in waits if not before.get(member)]
    for member in free:  # it grows: leaves first, then whoever has none left before it
        if (after := edges.get(member)) is not None:
            waits[after] += waits[member] + 1
            before[after] -= 1
            if not before[after]:
                free.append(after)
    rest = set(waits) - set(free)
    while rest:
        ring = [rest.pop()]
        while edges[ring[-1]] != ring[0]:
            ring.append(edges[ring[-1]])
        rest.difference_update(ring)
        total = sum(waits[member] + 1 for member in ring) - 1
        waits.update(dict.fromkeys(ring, total))
    return {member: count for member, count in waits.items() if count}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the member of a case stands.

    Shape: *state*, *stage*, *status* and *operation* of the member's newest instance, None: it was pruned; *is_same*:
    that is the one that was refused; *is_same_content*: it says the same; *retried*: it was sent again because the
    address had become free; *is_parked*: it has another address meanwhile, so that a cycle comes loose.
    """

    state: str | None
    stage: str | None
    status: str | None
    operation: str | None
    is_same: bool
    is_same_content: bool
    retried: bool
    is_parked: bool = False


_ON_ITS_WAY: Sequence[str | None] = (*QUEUED, State.RUNNING)
_ACCEPTED: Sequence[str | None] = (State.COMPLETED, State.UNCHANGED)


def is_coming(standing: Standing) -> bool:
    """Return whether a try that may end the case is on its way to CrowdTwist."""
    return standing.state in _ON_ITS_WAY and standing.stage in (Stage.OIC, Stage.CROWDTWIST)


def closing(standing: Standing) -> Closing | None:
    """Return how the case has ended, None: it has not."""
    same = standing.is_same
    is_untold = standing.state == State.DEAD and same and standing.status == SyncStatus.DATA_ERROR
    if standing.state in _ON_ITS_WAY or standing.state == State.REJECTED or is_untold or standing.is_parked:
        return None
    if standing.state in _ACCEPTED:
        again = Closing.HOLDER_MOVED if same and standing.retried else Closing.SENT_AGAIN
        otherwise = again if same or standing.is_same_content else Closing.CORRECTED
        return Closing.DELETED if standing.operation == "delete" else otherwise
    if standing.state is None:
        return Closing.PRUNED
    return Closing.DISCARDED if standing.state == State.DISCARDED and same else Closing.OVERTAKEN
