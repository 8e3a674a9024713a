"""The words of reconciliation: how a run stands, what is compared, and what becomes of a member in it (spec section 8).

| class                    | what is so                                                                                |
|--------------------------|-------------------------------------------------------------------------------------------|
| `never_sent`             | Siebel has the member, and no event of it ever came                                       |
| `missed_event`           | Siebel's row is newer than the newest accepted event, and says something else             |
| `changed_at_destination` | CrowdTwist shows something else than it showed at our last success                        |
| `rolled_back`            | the same, and CrowdTwist's own date is older than its acknowledgement: it was restored    |
| `gone_at_destination`    | CrowdTwist acknowledged the member, and has it no more; it may be a lawful erasure        |
| `orphan`                 | active in CrowdTwist, and not a member of the programme in Siebel                         |
| `status_lies`            | Siebel's status or error is not the outcome of the newest event                           |
| `ledger_behind`          | Siebel and CrowdTwist agree, and our record says something else                           |

A member that is in flight, or whose difference was not seen twice a settle time apart with nothing of it between, is
*moving*: no drift.
"""

from enum import StrEnum


class DriftClass(StrEnum):
    """The cause of a difference, as the table above says."""

    NEVER_SENT = "never_sent"
    MISSED_EVENT = "missed_event"
    CHANGED_AT_DESTINATION = "changed_at_destination"
    ROLLED_BACK = "rolled_back"
    GONE_AT_DESTINATION = "gone_at_destination"
    ORPHAN = "orphan"
    STATUS_LIES = "status_lies"
    LEDGER_BEHIND = "ledger_behind"


class RunState(StrEnum):
    """Where a run is in its life."""

    LOADING = "loading"
    """Whoever asked still hands over the rows of a file."""
    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class RunMode(StrEnum):
    """About which members CrowdTwist is asked: all, or some that are drawn."""

    FULL = "full"
    SAMPLE = "sample"


class Phase(StrEnum):
    """What a run is doing, in this order."""

    SIEBEL = "siebel"
    """Read Siebel, row by row of its key, beside the ledger."""
    LEDGER = "ledger"
    """Go through the ledger for members that Siebel has not shown."""
    FILE = "file"
    """Read CrowdTwist's file."""
    DRAW = "draw"
    CROWDTWIST = "crowdtwist"
    """Ask CrowdTwist about those that were drawn."""
    SECOND = "second"
    """Look a second time at whoever differs, a settle time after the first."""
    END = "end"


class Side(StrEnum):
    """Of which system a file is."""

    SIEBEL = "siebel"
    CROWDTWIST = "crowdtwist"


class Stratum(StrEnum):
    """Why a member may differ, the first that applies; each is sampled at a rate of its own, weighed by its size."""

    NEVER_IN_LEDGER = "never_in_ledger"
    NEWER_IN_SIEBEL = "newer_in_siebel"
    """Siebel's row says something else than the newest accepted event."""
    NOT_IN_SIEBEL = "not_in_siebel"
    ONLY_IN_FILE = "only_in_file"
    """In CrowdTwist's file, and neither in Siebel nor in the ledger."""
    GIVEN_UP = "given_up"
    """The newest instance is a dead letter or Data Error."""
    UNSURE = "unsure"
    """An outcome is unknown, or a lease was lost."""
    REQUEUED = "requeued"
    RECENT = "recent"
    """Accepted in the last 24 h."""
    LONG_UNTOUCHED = "long_untouched"


class Presence(StrEnum):
    """What a side has of a member as a whole, where no field tells a difference."""

    ABSENT = "absent"
    PRESENT = "present"
    """In Siebel, as a member of the programme."""
    NO_MEMBER = "no member"
    """In Siebel, and deleted there, of another programme, or no Individual."""
    ACTIVE = "active"
    INACTIVE = "inactive"
    NO_EVENT = "no event"
    """Of the ledger: none was accepted."""
    ACCEPTED = "accepted"
    """Of the ledger: CrowdTwist acknowledged none of its events."""
    ACKNOWLEDGED = "acknowledged"


class Outcome(StrEnum):
    """What became of one member in a run; none yet: it was as it should be, or the second look is still to come."""

    SAME = "same"
    """The difference was gone at the second look."""
    DIFFERS = "differs"
    MOVING = "moving"
    UNREAD = "unread"
    """CrowdTwist or Siebel could not be read for it."""
