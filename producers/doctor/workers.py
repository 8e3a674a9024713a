"""Whether workers take tasks, of every stage and lane."""

from producers.doctor.finding import Finding, fail, ok
from producers.doctor.subject import Subject, UnlookedError
from shared.broker import ask_workers
from shared.pipeline import QUEUES, STAGES, Lane

CHECK = "workers"
_WITHIN_S = (2.0, 4.0)
"""Who is busy answers late: where somebody is missing they are asked again, with more patience."""
_LOOKED_AT = "who answers Celery's control commands, and their queues"


def look(subject: Subject) -> list[Finding]:
    """Ask the workers which queues they consume."""
    try:
        consumed = _heard(subject.broker_url)
    except ConnectionError as error:
        raise UnlookedError(f"the broker does not serve ({error})", "first what is said of the broker") from error
    if not consumed:
        why = "what is due goes to the broker and comes back: nothing is synced"
        remedy = "start them: `membersync worker --lane live` and `membersync worker --lane bulk`"
        return [fail(CHECK, _LOOKED_AT, f"no worker answers within {_WITHIN_S[-1]:g} s", why, remedy)]
    return [_of_lane(lane, consumed) for lane in Lane]


def _of_lane(lane: Lane, consumed: dict[str, set[str]]) -> Finding:
    queues = {stage.queue(lane) for stage in STAGES}
    missing = queues - set().union(*consumed.values())
    if missing:
        why = f"instances of the {lane} lane are not taken through these stages"
        remedy = f"start one: `membersync worker --lane {lane}`"
        return fail(CHECK, _LOOKED_AT, f"nobody consumes {', '.join(sorted(missing))}", why, remedy)
    names = sorted(name for name, its in consumed.items() if queues & its)
    return ok(CHECK, _LOOKED_AT, f"{lane}: {', '.join(names)}")


def _heard(url: str) -> dict[str, set[str]]:
    consumed: dict[str, set[str]] = {}
    for within_s in _WITHIN_S:
        consumed |= _consumed(url, within_s)
        if set().union(*consumed.values()) == set(QUEUES):
            break
    return consumed


def _consumed(url: str, within_s: float) -> dict[str, set[str]]:
    """Give, by worker, those of our queues that it consumes."""
    answers = ask_workers(url, "active_queues", within_s=within_s)
    queues = {name: {str(queue["name"]) for queue in its} & set(QUEUES) for name, its in answers.items()}
    return {name: its for name, its in queues.items() if its}
