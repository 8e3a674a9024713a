"""`membersync demo`: the whole stack in the sandbox, a day of members through it, and every promise checked.

1. A few hundred members enrol, as NDJSON and as Siebel's own XML.
2. CrowdTwist goes into maintenance for some seconds, and the next day's changes arrive meanwhile.
3. It comes back; everything heals by itself.
4. Much is sent once more: nothing may happen.
5. What CrowdTwist holds and Siebel says is compared with what the sample asks for, worked out independently.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import demo_sample as sample
from deploy.local.demo_feed import Feed, report
from deploy.local.demo_sample import DEFAULT_COUNTRY, DEFAULT_US_POSTAL_CODE, EMAIL_DOMAIN
from deploy.local.embedded_server import ServerError
from deploy.local.scene_theatre import NotSettledError, Scene, Theatre
from deploy.local.scenes import SCENES
from deploy.local.stack import Stack, StoppedError, running_stack
from deploy.local.supervisor import ProcessError, Stop, stop_signals
from deploy.local.up import complain, say, say_ready, tell
from shared.addresses.hosts import PortError
from shared.pipeline import Stage
from shared.settings import ApiSettings, CrowdTwistSettings, FlowerSettings, OicSettings, Page, Settings

_OUTAGE_S = 6.0
_LINES_PER_REQUEST = 60
_INTERRUPTED = 130


def demo(settings: Settings, *, keep: bool = False, scene: Scene | str | None = None) -> int:
    """Show and check the product on this machine; give the exit code: 0 only if every promise held.

    Args:
        settings: Of these only the home, if it was set, the ports and the log level count: a demo never reaches out.
        keep: Leave it running until Ctrl-C.
        scene: Another story instead of the main one, by name or as it is.
    """
    if isinstance(scene, str):
        if scene not in SCENES:
            complain(f"membersync demo: there is no scene {scene}; there are {', '.join(SCENES)}")
            return 2
        scene = SCENES[scene]()
    try:
        with stop_signals() as stop, _home(settings) as home:
            return _play(_settings(settings, home), stop, scene, keep=keep)
    except StoppedError:
        complain("membersync demo: interrupted")
        return _INTERRUPTED
    except (PortError, ServerError, ProcessError, FileExistsError) as error:
        complain(f"membersync demo: {error}")
        return 1


def _play(settings: Settings, stop: Stop, scene: Scene | None, *, keep: bool) -> int:
    simulated = {Stage.CROWDTWIST, Stage.SIEBEL} if scene is None else scene.simulated
    if scene is not None:
        settings = scene.settings(settings.model_copy(update={"program_id": ""}))
        say(f"{scene.about}\n")
        say(f"shortened (default): {scene.shortened}\n")
    say(f"starting; data and logs in {settings.home}")
    with running_stack(settings, sandbox=simulated, on_event=tell, stop=stop) as stack:
        say_ready(stack)
        kept = _main(stack, stop) if scene is None else _act(scene, stack, stop)
        if keep:
            say(f"still running, in {settings.home}, until Ctrl-C")
            say_ready(stack)
            stop.wait()
    if not kept:
        raise ProcessError("a promise was broken, see above")
    say("every promise held")
    return 0


def _main(stack: Stack, stop: Stop) -> bool:
    """Play the main story; say whether every promise held."""
    with Feed(stack, stop) as feed:
        try:
            _feed(feed)
        except NotSettledError as error:
            complain(str(error))
        return report(feed)


def _act(scene: Scene, stack: Stack, stop: Stop) -> bool:
    """Play a scene; say whether every promise held."""
    with Theatre(stack, stop) as theatre:
        try:
            scene.act(theatre)
        except NotSettledError as error:
            theatre.promise("it goes on", [str(error)])
        return theatre.kept


def _feed(feed: Feed) -> None:
    """Send the sample in its acts."""
    feed.seed_siebel([*sample.ndjson("members.ndjson", _LINES_PER_REQUEST), sample.siebel_xml("siebel_messages.xml")])
    say("1. members enrol: NDJSON, and SiebelMessage XML")
    for request in sample.ndjson("members.ndjson", _LINES_PER_REQUEST):
        feed.send(request)
    feed.send(sample.siebel_xml("siebel_messages.xml"))
    feed.settle()
    say(f"2. CrowdTwist is in maintenance for {_OUTAGE_S:g} s (503, an HTML page), and the next day's changes arrive")
    feed.break_crowdtwist(_OUTAGE_S)
    feed.send(sample.json_array("changes.json"))
    feed.settle()
    say("3. much of it is sent once more, and updates without news: nothing may happen")
    feed.expect_no_calls()
    for request in sample.ndjson("members.ndjson", _LINES_PER_REQUEST):
        feed.send(request)
    feed.send(sample.siebel_xml("siebel_messages.xml"))
    feed.send(sample.json_array("changes.json"))
    for request in sample.ndjson("again.ndjson", _LINES_PER_REQUEST):
        feed.send(request)
    feed.settle()


def _settings(given: Settings, home: Path) -> Settings:
    """Give the demo's own settings: of yours only the home and the ports, so that nothing of yours is touched."""
    return Settings.model_construct(
        home=home,
        log_level=given.log_level,
        program_id=sample.PROGRAM_ID,
        oic=OicSettings(
            default_country_code=DEFAULT_COUNTRY,
            default_postal_code=DEFAULT_US_POSTAL_CODE,
            default_email_domain=EMAIL_DOMAIN,
        ),
        crowdtwist=CrowdTwistSettings(
            retry_base_s=0.5, retry_cap_s=2, max_attempts=30, probe_first_s=0.5, probe_cap_s=1, settle_s=1
        ),
        api=ApiSettings(**_port(given.api)),
        flower=FlowerSettings(password=given.flower.password, **_port(given.flower)),
    )


def _port(given: Page) -> dict[str, int]:
    """Give the port only if it was asked for: in place of any other the demo may take another one."""
    return given.model_dump(include={"port"}, exclude_unset=True)


@contextmanager
def _home(settings: Settings) -> Iterator[Path]:
    """Give the home that was set, if it is fresh, else one that goes afterwards; it stays when something went wrong.

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
