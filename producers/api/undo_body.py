"""The body that asks for the undo of a discard."""

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from producers.http.operating import SAID, Id, Reason
from producers.operations.job_control import Ask, AskError, Selection
from producers.operations.job_selections import Discarded
from shared.ledger.jobs import Kind
from shared.ledger.transitions.requeues import SELECTION_MAX

_WHICH: list[JsonValue] = [
    {"required": ["ids"], "properties": {"ids": {"minItems": 1}, "discard": {"type": "null"}}},
    {
        "required": ["discard"],
        "properties": {"ids": {"maxItems": 0}, "discard": {"type": ["string", "integer"]}},
    },
]
_WHY: JsonValue = {
    "anyOf": [
        {"required": ["reason"], "properties": {"reason": SAID}},
        {"required": ["dry_run"], "properties": {"dry_run": {"const": True}}},
    ]
}


class UndoBody(BaseModel):
    """Which discard, or which discarded instances, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"allOf": [{"anyOf": _WHICH}, _WHY]})

    discard: Id | None = Field(None, description="the discard's `job_id`; or give `ids`")
    ids: list[Id] = Field(default_factory=list, description=f"instance ids, at most {SELECTION_MAX}")
    reason: Reason = Field("", description="required, unless it is a dry run")
    dry_run: bool = Field(default=False, description="only say what would become of them")

    def ask(self) -> Ask:
        """Return what is asked.

        Raises:
            AskError: with the name of the field.
        """
        if (self.discard is None) == (not self.ids):
            raise AskError("ids", "give instance ids or a discard, one of them")
        if not self.dry_run and not self.reason.strip():
            raise AskError("reason", "say why")
        ids = tuple(map(int, self.ids))
        chosen = Selection(ids) if self.discard is None else Discarded(job_id=int(self.discard))
        return Ask(Kind.UNDO, chosen, self.reason)
