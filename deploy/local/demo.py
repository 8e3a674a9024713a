"""`membersync demo`: the whole stack in the sandbox, a story played on it, and every promise of it checked."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import demo_sample as sample
from deploy.local.demo_run import DemoRun, NotSettledError, Scene
from deploy.local.demo_story import MAIN
from deploy.local.scenes import SCENES
from deploy.local.server_folder import ServerError
from deploy.local.stack import StoppedError, running_stack
from deploy.local.supervisor import ProcessError, Stop, stop_signals
from deploy.local.up import complain, print_event, say, say_ready
from shared.addresses.hosts import PortError
from shared.settings import ApiSettings, CrowdTwistSettings, FlowerSettings, OicSettings, Settings

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
