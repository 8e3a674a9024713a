"""What is broken on purpose: each mutant with the edits that make it, and the scenario that has to show it.

Scenarios are named here and played in `scenarios`.  An edit whose text is not in its module exactly once is an error:
none rots into one that breaks nothing.
"""

from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a module's text."""

    module: str
    before: str
    after: str

    @property
    def path(self) -> Path:
        """Where the module's source is."""
        place = _ROOT.joinpath(*self.module.split("."))
        return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")

    def applied(self, source: str) -> str:
        """Return the edited source.

        Raises:
            ValueError: the text to be changed is not there exactly once.
        """
        if source.count(self.before) != 1:
            raise ValueError(f"{self.module} has {source.count(self.before)} times: {self.before}")
        return source.replace(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way of breaking the product."""

    name: str
    scenario: str
    edits: tuple[Edit, ...]


_ACCEPT = "producers.intake.accept"
_JUDGING = "producers.intake.judging"
_EVENTS = "shared.events"
_CALL = "workers.stages.crowdtwist"
_HEALTH = "workers.health"
_CROWDTWIST = "shared.systems.crowdtwist"
_VERDICTS = "shared.lifecycle.verdicts"
_BREAKER = "shared.lifecycle.breaker"
_LEARNED = "shared.ledger.learned"
_CLAIMS = "shared.ledger.transitions.claims"
_ATTEMPTS = "shared.ledger.transitions.attempts"

_RETRY = """        case RetryIn(delay_s):
            return _waiting(work, failed, line, delay_s, rules)
"""
_SPARES_NOBODY = Edit(
    _HEALTH, "        if not breaker.gives_up_unproven(answers, self.of.policy):\n", "        if True:\n"
)
_OVER = "    from {OUT} where i.lease_until < now()\n"
_SETTLES = "is not null then now() + make_interval(secs => :settle_s) end"


def _instead_of_a_retry(code: str) -> Edit:
    return Edit(_VERDICTS, _RETRY, _RETRY.replace("            return", f"{code}            return"))


MUTANTS = (
    Mutant(
        "the version guard is skipped",
        "out of order",
        (
            Edit(
                _JUDGING,
                "    begins = begins_sequence(event, standing)\n    if is",
                "    begins = True\n    standing.newest = None\n    if is",
            ),
        ),
    ),
    Mutant(
        "the later arrival supersedes",
        "out of order",
        (
            Edit(_EVENTS, "        return self.modification < other.modification\n", "        return False\n"),
            Edit(
                _EVENTS,
                "        return (self.occurred_until or self.occurred_at) < other.occurred_at\n",
                "        return False\n",
            ),
        ),
    ),
    Mutant(
        "an answer is given without a commit",
        "plain",
        (
            Edit(
                _ACCEPT,
                "outcome for answered in receipts for receipt in answered))\n        return receipts\n",
                "outcome for answered in receipts for receipt in answered))\n"
                "            if __import__('random').random() < 0.5:\n                tx.rollback()\n"
                "        return receipts\n",
            ),
        ),
    ),
    Mutant(
        "acceptance commits asynchronously",
        "ledger crashes",
        (
            Edit(
                "shared.ledger.engine",
                '_SESSION if durable else f"{_SESSION} {_ASYNCHRONOUSLY}"',
                'f"{_SESSION} {_ASYNCHRONOUSLY}"',
            ),
        ),
    ),
    Mutant(
        "no look after a create without an answer",
        "lost creations",
        (
            Edit(_CALL, "            return await self._probe(error)\n", "            raise\n"),
            Edit(_CALL, "isinstance(refused, DataError) or await self.find() is None:", "False:"),
            Edit(_CALL, "        if work.unknown_outcome:\n", "        if False:\n"),
        ),
    ),
    Mutant(
        "no read-back after a lost write",
        "late write",
        (Edit(_LEARNED, f"read_back_at = case when m.lost_write_id {_SETTLES}", "read_back_at = null"),),
    ),
    Mutant(
        "no telling again after a lost status",
        "late status",
        (Edit(_LEARNED, f"tell_again_at = case when m.lost_tell_id {_SETTLES}", "tell_again_at = null"),),
    ),
    Mutant(
        "an outage's attempts are counted",
        "outage",
        (
            Edit(_BREAKER, "        position=Position.OPEN,\n        opened_at=now,\n", "        opened_at=now,\n"),
            _SPARES_NOBODY,
        ),
    ),
    Mutant(
        "Siebel is told before CrowdTwist answered",
        "crowdtwist fails",
        (
            _instead_of_a_retry(
                "            if rules.stage is Stage.CROWDTWIST:\n"
                "                return Advanced(work, _onward(rules), Stage.SIEBEL, SyncStatus.SUCCESS, '', line)\n"
            ),
        ),
    ),
    Mutant(
        "Siebel's silence counts as told",
        "siebel fails",
        (
            _instead_of_a_retry(
                "            if rules.stage is Stage.SIEBEL:\n"
                "                return Advanced(work, State.COMPLETED, Stage.SIEBEL, work.status, work.error, line)\n"
            ),
        ),
    ),
    Mutant(
        "another member's answer counts",
        "answers of another",
        (Edit(_CROWDTWIST, "    if number is not None and stored.third_party_id != number:\n", "    if False:\n"),),
    ),
    Mutant(
        "a gateway's refusal counts as CrowdTwist's",
        "gateway",
        (
            Edit(
                _CROWDTWIST,
                '    return code if _OWN_CODE.fullmatch(code) and answer.text("message") else ""\n',
                "    return code\n",
            ),
        ),
    ),
    Mutant(
        "a gateway's 404 ends a deletion",
        "deletions",
        (Edit(_CROWDTWIST, "HTTPStatus.NOT_FOUND and _own_code(answer) == _ABSENT\n", "HTTPStatus.NOT_FOUND\n"),),
    ),
    Mutant(
        "no lease is given back",
        "workers killed",
        (Edit(_CLAIMS, _OVER, "    from {OUT} where false\n"),),
    ),
    Mutant(
        "a message that was lost is not missed",
        "messages lost",
        (Edit(_CLAIMS, _OVER, "    from {OUT} where i.lease_until < now() and i.begun\n"),),
    ),
    Mutant(
        "a lease is ignored",
        "slow calls",
        (Edit(_CLAIMS, _OVER, "    from {OUT} where i.begun or i.lease_until < now()\n"),),
    ),
    Mutant(
        "writes are not fenced by their token",
        "frozen",
        (
            Edit(
                _ATTEMPTS,
                "        where i.id = r.id and i.token = r.token\n        returning",
                "        where i.id = r.id\n        returning",
            ),
            Edit(
                _ATTEMPTS,
                "where i.id = r.id and i.token = r.token and coalesce(i.stage = :at, false)",
                "where i.id = r.id",
            ),
        ),
    ),
    Mutant(
        "the first failure is the last",
        "few fail",
        (
            Edit(
                "shared.lifecycle.retry",
                "    if attempt >= policy.max_attempts and not",
                "    if attempt >= 1 and not",
            ),
            _SPARES_NOBODY,
        ),
    ),
    Mutant(
        "unchanged is judged while another is in flight",
        "back and forth",
        (
            Edit(
                _JUDGING,
                "standing.applied_hash == content and not standing.running and not begins",
                "standing.applied_hash == content and not begins",
            ),
        ),
    ),
)
