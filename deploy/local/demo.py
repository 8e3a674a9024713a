"""`membersync demo`: the whole stack in the sandbox, a story played on it, and every promise of it checked.

Beside the main one there are scenes, `--scene NAME`, each of its own length.  A scene says what one is going to see,
which settings it changes, and acts on a `DemoRun`: it sends events, breaks and heals the simulators, waits, and says of
each promise whether it was kept.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import demo_sample as sample
from deploy.local.demo_run import DemoRun, NotSettledError, Record, Scene, event, faulty, outdated
from deploy.local.demo_story import MAIN
from deploy.local.programs import ServerError
from deploy.local.scene_downtime import OUTAGE_S, oic, outage
from deploy.local.scene_drift import drift
from deploy.local.scene_guard import guard
from deploy.local.scene_incident import incident
from deploy.local.stack import StoppedError, complain, print_event, running_stack, say, say_ready
from deploy.local.supervisor import ProcessError, Stop, stop_signals
from shared.hosts import PortError
from shared.pipeline import spoken
from shared.settings import ApiSettings, CrowdTwistSettings, FlowerSettings, OicSettings, Settings

CROWDTWIST = "crowdtwist"
POISONED = "POISON"
ATTEMPTS = 6
_GIVES_UP_SOON = {CROWDTWIST: {"max_attempts": ATTEMPTS, "retry_base_s": 0.3, "retry_cap_s": 2.0}}
_OTHERS_AT_ONCE = 3
_ROUND_S = 0.3
_QUIET_S = 1.5
_ENDED = frozenset({"done", "stopped"})


def dead_letter(run: DemoRun) -> None:
    """One member fails for good while all others succeed; fixed, requeued, done."""
    with _poisoned(run) as dead:
        causes = run.read("/v1/dead-letters")["items"]
        said = (f"{one['count']} at {spoken(one['stage'])}, {one['code']}" for one in causes)
        say(f"   dead letters by cause: {'; '.join(said)}")
    say("2. CrowdTwist is corrected, and an operator requeues the dead letter")
    job = _requeue(run, dead.instance_id, "CrowdTwist corrected it")
    run.until(run.is_settled, "the requeued one through")
    run.until(lambda: _siebel_shows(run) == "Success", "Siebel notified")
    ends = (job["state"], run.instance(dead.instance_id)["state"])
    run.promise("the job is done and the instance completed", [] if ends == ("done", "completed") else [str(ends)])
    newest = dict.fromkeys((*dead.others, POISONED), 0)
    run.promise(f"CrowdTwist has all {len(newest)} members", outdated(run.control.users(), newest))
    run.promise("Siebel shows `Success` of it")


def overtaken(run: DemoRun) -> None:
    """A dead letter is requeued after a newer event of the member succeeded, and harms nothing."""
    with _poisoned(run) as dead:
        pass
    say("2. CrowdTwist is corrected, and the member is changed once more in Siebel: that comes through")
    run.send(event(POISONED, 1))
    run.until(lambda: _siebel_shows(run) == "Success", "Siebel notified")
    run.until(run.is_settled, "the newer one through")
    before = run.control.state(CROWDTWIST)["calls_total"]
    say("3. an operator requeues the old dead letter")
    job = _requeue(run, dead.instance_id, "it was forgotten")
    run.wait(_QUIET_S)
    run.print_instance(dead.instance_id)
    ends = (job["state"], run.instance(dead.instance_id)["state"])
    run.promise(
        "the job is done, and the old one closed as superseded", [] if ends == ("done", "superseded") else [str(ends)]
    )
    calls = run.control.state(CROWDTWIST)["calls_total"] - before
    run.promise("CrowdTwist had no call", [f"{calls} calls"] if calls else [])
    newest = dict.fromkeys(dead.others, 0) | {POISONED: 1}
    run.promise("CrowdTwist keeps the newer data", outdated(run.control.users(), newest))
    status = _siebel_shows(run)
    run.promise("Siebel still shows `Success`", [] if status == "Success" else [f"it shows {status}"])


@dataclass(frozen=True, slots=True)
class _DeadLetter:
    """The dead letter of a member that CrowdTwist cannot digest, and the others that came through meanwhile."""

    instance_id: str
    others: list[str] = field(default_factory=list)


@contextmanager
def _poisoned(run: DemoRun) -> Iterator[_DeadLetter]:
    """Let a member become a dead letter; CrowdTwist digests it again when the block ends."""
    with faulty(run.control, CROWDTWIST, "status", member=[POISONED], status=500):
        say(f"1. CrowdTwist answers 500 whenever it gets member {POISONED}; the others come through")
        (instance_id,) = run.send(event(POISONED))
        dead = _DeadLetter(instance_id)
        breaker: set[str] = set()

        def is_dead() -> bool:
            numbers = [f"OTHER-{len(dead.others) + index}" for index in range(_OTHERS_AT_ONCE)]
            run.send(*map(event, numbers))
            dead.others.extend(numbers)
            breaker.add(run.connection(CROWDTWIST)["breaker"])
            run.wait(_ROUND_S)
            return str(run.instance(instance_id)["state"]) == "dead"

        run.until(is_dead, "a dead letter")
        run.until(run.is_settled, "the others through")
        run.print_instance(instance_id)
        _check(run, dead, breaker)
        yield dead


def _check(run: DemoRun, dead: _DeadLetter, breaker: set[str]) -> None:
    """Keep the promises that hold while the member is a dead letter; *breaker* is every state that was seen of it."""
    found = run.instance(dead.instance_id)
    run.promise(
        f"it is a dead letter after {found['attempt']} attempts of {ATTEMPTS}: {found['error']}",
        [] if (found["state"], found["attempt"]) == ("dead", ATTEMPTS) else [f"{found['state']}, {found['attempt']}"],
    )
    through = [one for one in run.instances("completed") if one["member_number"] in dead.others]
    run.promise(
        f"all {len(dead.others)} others came through meanwhile",
        [] if len(through) == len(dead.others) else [f"only {len(through)} did"],
    )
    healed_at = run.connection(CROWDTWIST)["healed_at"]
    opened = sorted(breaker - {"closed"}) or ([] if healed_at is None else ["it opened and healed"])
    run.promise("the breaker never opened, nobody was held", opened)
    run.until(lambda: _siebel_shows(run) == "CT Failure", "Siebel notified")
    run.promise(
        "Siebel shows `CT Failure` of it, and of nobody else",
        [
            f"{one['member_number']}: {one['status']}"
            for one in run.control.members()
            if one["status"] != ("CT Failure" if one["member_number"] == POISONED else "Success")
        ],
    )


def _requeue(run: DemoRun, instance_id: str, reason: str) -> Record:
    """Ask for the requeue as an operator does, and follow it; return the job when it is over."""
    wanted = {"ids": [instance_id], "reason": reason}
    plan = run.api.post("/v1/requeues", json={**wanted, "dry_run": True}).raise_for_status().json()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in plan["counts"].items() if count)
    reasons = "; ".join(one["reason"] for one in plan["reasons"])
    say(f"   the plan: {counts}" + (f" ({reasons})" if reasons else ""))
    job: Record = run.api.post("/v1/requeues", json=wanted).raise_for_status().json()

    def is_over() -> bool:
        job.update(run.read(f"/v1/requeues/{job['job_id']}"))
        return job["state"] in _ENDED

    run.until(is_over, "the requeue done")
    say(f"   job {job['job_id']}: {job['state']}")
    return job


def _siebel_shows(run: DemoRun) -> str | None:
    found = run.control.member(POISONED)
    return None if found is None else found["status"]


SCENES: Mapping[str, Scene] = {
    "outage": outage(OUTAGE_S),
    "oic": oic(OUTAGE_S),
    "dead-letter": Scene(
        about=(
            "One member makes CrowdTwist answer 500, every time. That is no outage: the others come through, so it\n"
            "alone is tried again, given up, and shown to a person; when the cause is gone, one command sends it on."
        ),
        act=dead_letter,
        changes=_GIVES_UP_SOON,
    ),
    "overtaken": Scene(
        about=(
            "A dead letter is requeued too late: the member was changed once more, and the newer data is in CrowdTwist "
            "already.\nThe requeue sees that, sends nothing, and closes the old one."
        ),
        act=overtaken,
        changes=_GIVES_UP_SOON,
    ),
    "drift": drift(),
    "guard": guard(),
    "incident": incident(),
}


_INTERRUPTED = 130


def demo(settings: Settings, *, keep: bool = False, scene: Scene | str | None = None) -> int:
    """Show and check the product on this machine; return the exit code: 0 only if every promise held.

    Args:
        settings: Of these only the home, if it was set, the ports and the log level count: a demo never reaches out.
        keep: Leave it running until Ctrl-C.
        scene: Another story instead of the main one, by name or as it is.
    """
    if isinstance(scene, str):
        if scene not in SCENES:
            complain(f"membersync demo: there is no scene {scene}; there are {', '.join(SCENES)}")
            return 2
        scene = SCENES[scene]
    try:
        with stop_signals() as stop, _home(settings) as home:
            _play(scene or MAIN, _settings(settings, home), stop, keep=keep)
    except StoppedError:
        complain("membersync demo: interrupted")
        return _INTERRUPTED
    except (PortError, ServerError, ProcessError, FileExistsError) as error:
        complain(f"membersync demo: {error}")
        return 1
    say("every promise held")
    return 0


def _play(scene: Scene, settings: Settings, stop: Stop, *, keep: bool) -> None:
    if scene.about:
        say(f"{scene.about}\n")
        say(f"shortened (default): {scene.changed}\n")
    say(f"starting; data and logs in {settings.home}")
    with running_stack(scene.settings(settings), sandbox=scene.simulated, on_event=print_event, stop=stop) as stack:
        say_ready(stack)
        with DemoRun(stack, stop) as run:
            try:
                scene.act(run)
            except NotSettledError as error:
                run.promise("it goes on", [str(error)])
        if keep:
            say(f"still running, in {settings.home}, until Ctrl-C")
            say_ready(stack)
            stop.wait()
    if not run.kept:
        raise ProcessError("a promise was broken, see above")


def _settings(given: Settings, home: Path) -> Settings:
    """Return the demo's own settings: of yours only the home and the ports, so that nothing of yours is touched.

    A port counts only if it was asked for: in place of any other the demo may take another one.
    """
    api, flower = (page.model_dump(include={"port"}, exclude_unset=True) for page in (given.api, given.flower))
    return Settings.model_construct(
        home=home,
        log_level=given.log_level,
        program_id=sample.PROGRAM_ID,
        oic=OicSettings(
            default_country_code=sample.DEFAULT_COUNTRY,
            default_postal_code=sample.DEFAULT_US_POSTAL_CODE,
            default_email_domain=sample.EMAIL_DOMAIN,
        ),
        crowdtwist=CrowdTwistSettings(
            retry_base_s=0.5, retry_cap_s=2, max_attempts=30, probe_first_s=0.5, probe_cap_s=1, settle_s=1
        ),
        api=ApiSettings(**api),
        flower=FlowerSettings(password=given.flower.password, **flower),
    )


@contextmanager
def _home(settings: Settings) -> Iterator[Path]:
    """Yield the home that was set, if it is fresh, else one that goes afterwards; it stays when something went wrong.

    Raises:
        FileExistsError: Somebody else's data is in there; the demo's expectations would not hold.
    """
    if "home" in settings.model_fields_set:
        home = settings.home.resolve()
        if home.exists() and any(home.iterdir()):
            raise FileExistsError(f"{home} is not empty: set MEMBERSYNC_HOME to a fresh folder, or unset it")
        yield home
        return
    home = Path(tempfile.mkdtemp(prefix="membersync-demo-"))
    try:
        yield home
    except (ServerError, ProcessError):
        say(f"what happened is in {home / 'logs'}")
        raise
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    shutil.rmtree(home, ignore_errors=True)
