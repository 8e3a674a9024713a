"""THE MAP: the stages a member's change passes, in order.  Read this first.

| stage        | task                       | queues            | retry policy | its failure, as Siebel reads it |
|--------------|----------------------------|-------------------|--------------|---------------------------------|
| `oic`        | membersync.oic_flow        | oic.<lane>        | `oic`        | OIC Failure                     |
| `crowdtwist` | membersync.crowdtwist_call | crowdtwist.<lane> | `crowdtwist` | CT Failure                      |
| `siebel`     | membersync.siebel_result   | siebel.<lane>     | `siebel`     | (it is the telling)             |

A Celery chain carries the ids of a batch along this map from the stage where the batch stands.  The ledger, never the
message, says at which stage each instance is; a Data Error at any stage goes straight to `siebel`.
"""

from enum import StrEnum


class Stage(StrEnum):
    """A step of the pipeline, named after the system it talks to; also the name of that system's connection."""

    OIC = "oic"
    CROWDTWIST = "crowdtwist"
    SIEBEL = "siebel"

    @property
    def task(self) -> str:
        """The Celery task that runs this stage."""
        return _TASKS[self]

    @property
    def rest(self) -> "tuple[Stage, ...]":
        """This stage and those after it: what a chain starting here runs."""
        return STAGES[STAGES.index(self) :]

    def queue(self, lane: "Lane") -> str:
        """Name the queue of this stage for *lane*."""
        return f"{self}.{lane}"


class Lane(StrEnum):
    """`live`: members waiting now.  `bulk`: loads and repairs, which must never delay the live ones."""

    LIVE = "live"
    BULK = "bulk"


class Origin(StrEnum):
    """Where an event comes from that no producer sent."""

    RECONCILE = "reconcile"
    """A repair made it of Siebel's current row."""


class State(StrEnum):
    """Where an instance is in its life (spec section 4)."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"
    COMPLETED = "completed"
    REJECTED = "rejected"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    DISCARDED = "discarded"


class SyncStatus(StrEnum):
    """What an instance came to, as kept in the ledger; the text Siebel gets for `SUCCESS` is a setting (A)."""

    SUCCESS = "Success"
    OIC_FAILURE = "OIC Failure"
    CT_FAILURE = "CT Failure"
    DATA_ERROR = "Data Error"


STAGES: tuple[Stage, ...] = tuple(Stage)
QUEUES: tuple[str, ...] = tuple(stage.queue(lane) for lane in Lane for stage in STAGES)
QUEUED: tuple[State, ...] = (State.PENDING, State.WAITING, State.HELD)
"""States in which an instance waits for its turn; a member has at most one such instance."""
SYSTEMS: dict[Stage, str] = {Stage.OIC: "OIC", Stage.CROWDTWIST: "CrowdTwist", Stage.SIEBEL: "Siebel"}
"""What people call the system that a stage talks to."""
_SPOKEN: dict[str, str] = {
    **{stage.value: name for stage, name in SYSTEMS.items()},
    State.REJECTED: "Data Error",
    "data_error": "Data Error",
    State.DEAD: "dead letter",
    "open": "down",
    "half_open": "being probed",
}
FAILURE_STATUS: dict[Stage, SyncStatus] = {
    Stage.OIC: SyncStatus.OIC_FAILURE,
    Stage.CROWDTWIST: SyncStatus.CT_FAILURE,
}

_TASKS = {
    Stage.OIC: "membersync.oic_flow",
    Stage.CROWDTWIST: "membersync.crowdtwist_call",
    Stage.SIEBEL: "membersync.siebel_result",
}


def spoken(word: str | None, count: int = 1) -> str:
    """Return a stored word as people read it, the same everywhere; JSON, metrics, queues and options keep the stored.

    Shape: *count* of them, for words that have a plural.
    """
    said = _SPOKEN.get(word or "", (word or "").replace("_", " "))
    return f"{said}s" if count != 1 and said in ("Data Error", "dead letter") else said


def is_a(state: str) -> str:
    """Say what an instance in *state* is, after "it is"."""
    said = spoken(state)
    return f"a {said}" if state in (State.REJECTED, State.DEAD) else said
