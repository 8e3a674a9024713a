"""What each column of each table holds of a person, how a member's rows are found, and what becomes of them.

Whoever adds a column says here what it holds; a test compares this with the real schema.  From it follow `person`,
which shows everything that is kept of a member, and `forget`, which erases it.

- A member's *own* rows are shown whole by `person`, and deleted by `forget`.
- Others' rows may *name* the member, in words, documents and ids: `person` says where, `forget` takes that out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Holds(StrEnum):
    """What a column holds."""

    NOTHING = "nothing"
    """Nothing of a person: states, instants, counts, names of ours, ids that only the ledger knows."""
    ID = "id"
    """Member Number, ROW_ID or CrowdTwist id, or a document with no more of a person: readable by all who read."""
    WORDS = "words"
    """A sentence, personal parts in marks."""
    DOCUMENT = "document"
    """JSON with the person in it."""
    HASH = "hash"
    """Made of what the person is: tells whoever knows it that it is the same."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Shape: *columns* what each holds; *key* those that tell a row; *own* the condition of a member's rows `t`, by
    `:number` and `:ids` of its instances, empty: none is one member's alone; *names* the columns in which others' rows
    may name a member; *large*: too large to be searched at once, so by the instance, the first of *key*.
    """

    columns: dict[str, Holds]
    key: Sequence[str]
    own: str = ""
    names: Sequence[str] = field(default=())
    large: bool = False


def _table(  # noqa: PLR0913  # one for each thing that a column may hold
    key: str,
    *,
    own: str = "",
    ids: str = "",
    words: str = "",
    documents: str = "",
    hashes: str = "",
    nothing: str = "",
    names: str = "",
    large: bool = False,
) -> Table:
    said = {
        Holds.ID: ids,
        Holds.WORDS: words,
        Holds.DOCUMENT: documents,
        Holds.HASH: hashes,
        Holds.NOTHING: nothing,
    }
    columns = {name: holds for holds, some in said.items() for name in some.split()}
    return Table(columns, key.split(), own, names.split(), large)


_NUMBERED = "t.member_number = :number"
_OF_INSTANCE = "t.instance_id = any(cast(:ids as bigint[]))"

TABLES: dict[str, Table] = {
    "errand": _table(
        "id",
        own=_NUMBERED,
        ids="member_number",
        nothing="id instance_id kind stage lane due_at attempt token lease_until begun alone apart",
    ),
    "activity": _table(
        "instance_id id",
        own=_OF_INSTANCE,
        words="what",
        documents="calls calls_json calls_packed",
        nothing="instance_id id at stage attempt state code took_ms task_id task_uuid",
        names="what calls calls_json",
        large=True,
    ),
    "mapping": _table(
        "instance_id", own=_OF_INSTANCE, documents="user_object user_json", nothing="instance_id oic_instance_id"
    ),
    "payload": _table(
        "instance_id", own=_OF_INSTANCE, documents="event event_json event_packed", nothing="instance_id traceparent"
    ),
    "data_case": _table(
        "id",
        own=_NUMBERED,
        ids="member_number held_by path",
        words="rule character note",
        documents="holder",
        hashes="wants_key",
        nothing="id instance_id opened_at refused_at kind field unblocks retries looked looked_up_at look_at"
        " acknowledged_at acknowledged_by closed_at closed_how",
        names="held_by path holder note",
    ),
    "address_cycle": _table(
        "id",
        own="t.id in (select s.cycle_id from address_cycle_step s where s.member_number = :number)",
        ids="member_number",
        hashes="address_keys old_key park_key",
        nothing="id instance_id refused_ids state started_at deadline_at parked_at returned_at ended_at ended_how",
    ),
    "address_cycle_step": _table(
        "cycle_id position",
        own=_NUMBERED,
        ids="member_number",
        nothing="cycle_id position instance_id done_at",
    ),
    "difference": _table(
        "id",
        own=_NUMBERED,
        ids="member_number",
        words="evidence",
        documents="siebel crowdtwist ledger",
        nothing="id run_id class field first_seen_at seen_at acknowledged_at repairs repaired_at",
        names="evidence siebel crowdtwist ledger",
    ),
    "sighting": _table(
        "run_id member_number",
        own=_NUMBERED,
        ids="member_number page row_id",
        documents="from_file",
        hashes="marker siebel crowdtwist",
        nothing="run_id stratum place drawn looked_at suspected_at outcome",
        names="page",
    ),
    "refusal": _table(
        "id",
        own=_NUMBERED,
        ids="member_number",
        words="reason excerpt",
        nothing="id at sender source outcome position line field several count",
        names="reason excerpt source",
    ),
    "job_item": _table(
        "job_id instance_id",
        own=_NUMBERED,
        ids="member_number",
        words="reason",
        documents="was",
        nothing="job_id instance_id verdict newer_id state step",
    ),
    "instance": _table(
        "id",
        own=_NUMBERED,
        ids="event_id member_number",
        words="error reason",
        hashes="event_hash content_hash",
        nothing="id operation lane origin modification occurred_at accepted_at state stage due_stage due_at attempt"
        " token lease_until begun losses alone apart given_back suspect resubmits status code failed_stage"
        " failing_since finished_at hold_id cleared",
        names="error reason",
        large=True,
    ),
    "member": _table(
        "member_number",
        own=_NUMBERED,
        ids="member_number row_id proven_row_id ct_user_id",
        words="told_error",
        documents="echoed",
        hashes="applied_hash email_key held_email_key",
        nothing="sequence_from newest_id newest_modification newest_occurred_at newest_occurred_until newest_operation"
        " applied_id acknowledged_at synced known_in_crowdtwist unknown_outcome lost_write_id read_back_at lost_tell_id"
        " tell_again_at told_status told_id told_at errand_id shown",
    ),
    "job": _table(
        "id",
        ids="asked",
        words="reason",
        nothing="id kind state requested_by approved_by from_start forced recreates rate_per_minute size step"
        " created_at started_at ended_at stopped_why next_at paid_until",
        names="asked reason",
    ),
    "approval": _table(
        "id",
        words="reason answer",
        nothing="id what state job_id guard_id count asked_by asked_at decided_by decided_at",
        names="reason answer",
    ),
    "maintenance": _table(
        "id",
        words="reason",
        nothing="id name from_at until_at added_by added_at began_at ended_at removed_by removed_at",
        names="reason",
    ),
    "operator_action": _table(
        "id",
        ids="asked",
        words="reason answer",
        nothing="id at who role what count denied",
        names="asked reason answer",
    ),
    "guard_hold": _table(
        "id",
        words="message reason answer",
        nothing="id kind state fingerprint stage alike went_out told opened_at mailed tries try_at job_id decided_at"
        " decided_by ended_at",
        names="message reason answer",
    ),
    "forecast": _table("id", nothing="id job_id at left_over foreseen took_s scored_at"),
    "lane_depth": _table("lane at", nothing="lane at depth"),
    "incident": _table(
        "id",
        words="cause",
        documents="frozen",
        nothing="id kind state stage fingerprint opened_at resolved_at closed_at settled_at acknowledged_at"
        " acknowledged_by merged_into from_at counted_upto affected began_s ended ended_s dead statuses_told"
        " wasted_calls worst_age_s late_from late_to first_id last_id told told_at reminded_at",
        names="cause frozen",
    ),
    "incident_event": _table("id", words="what", nothing="id incident_id kind at written_at stage who", names="what"),
    "incident_span": _table("id", nothing="id incident_id stage code from_at to_at"),
    "installation": _table("name", nothing="name version settings"),
    "mark": _table("id", nothing="id at kind what"),
    "cause_note": _table(
        "id", words="message words", nothing="id at fingerprint stage code who", names="message words"
    ),
    "cause_count": _table("stage code at", nothing="stage code at count"),
    "mail": _table(
        "id",
        words="subject plain html last_error",
        nothing="id created_at kind due_at tries sent_at recipients channel dead_at",
        names="subject plain html last_error",
    ),
    "stray_message": _table("id", words="headers body", nothing="id at queue reason", names="headers body"),
    "connection": _table(
        "name",
        ids="failing_members",
        words="paused_reason last_error",
        nothing="name paused paused_by paused_at breaker failures failing_since opened_at probe_at probes"
        " probe_instance_id healed_at verify_at vouched_at wait_until unproven window_id",
        names="failing_members paused_reason last_error",
    ),
    "connection_change": _table("id", words="why", nothing="id at name what who mailed", names="why"),
    "reconciliation": _table(
        "id",
        ids="asked cursor",
        words="why",
        documents="findings",
        nothing="id state mode scheduled requested_by sample share settle_s seed phase token lease_until created_at"
        " started_at ended_at waiting in_siebel in_ledger in_crowdtwist to_look_at compared moving unread calls_siebel"
        " calls_crowdtwist covered drift classes strata mailed",
        names="asked cursor why findings",
    ),
    "reconciliation_file": _table("run_id side place", documents="rows digest", nothing="run_id side place"),
    "programme_size": _table("id", nothing="id members counted_at"),
    "flood_count": _table("fingerprint at", nothing="fingerprint at count"),
    "intake_tally": _table("outcome slot", nothing="outcome slot count"),
    "tally": _table("stage outcome bucket", nothing="stage outcome bucket count took_s"),
    "minute": _table("at stage outcome", nothing="at stage outcome count"),
    "hour": _table("at stage outcome", nothing="at stage outcome count"),
    "wait": _table("per at lane bucket", nothing="per at lane bucket count"),
    "latency": _table("per at stage bucket", nothing="per at stage bucket count"),
    "wait_total": _table("lane bucket", nothing="lane bucket count waited_s"),
    "bookmark": _table("name", nothing="name upto"),
    "silence": _table("at", nothing="at longest_s"),
    "heartbeat": _table("kind name", nothing="kind name lanes pid process_table started_at beat_at ended_at"),
    "compatibility": _table("single", nothing="single serves_from packs"),
    "ledger_clock": _table(
        "single",
        nothing=(
            "single moved_s looked_at stepped_at step_s pending_until looked_from ahead_least_s ahead_most_s "
            "ahead_of_wall_s doubted_at doubted_s counted_from counted_until counted_id"
        ),
    ),
    "readiness": _table("id", nothing="id at"),
    "ended_login": _table("digest", nothing="digest ended_at"),
    "saved_filter": _table("id", words="name query", nothing="id owner shared page", names="name query"),
    "secret": _table("name", nothing="name value"),
    "spend": _table("name slot lane", nothing="name slot lane calls"),
    "call_limit": _table("name", nothing="name known shares in_flight wanted upto looked_at changed_at"),
    "call_window": _table("process slot", nothing="process slot at calls"),
}
"""Every table.  Own rows are deleted in this order."""
