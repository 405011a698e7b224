"""The demo's own folder: wiped at the start, one demo at a time, and a file that lets another shell talk to it."""

import fcntl
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstmile.errors import ConflictError, UsageError
from firstmile.local import process
from firstmile.setting_sections import ROOT
from firstmile.settings import PARTS, Settings, as_environment

ARCHIVE_INTERVAL_S = 10.0
KEYS = "keys.yaml"


def demo_settings(settings: Settings) -> Settings:
    """The user's settings, with the demo's home under theirs, and one file of API keys for both copies of the API.

    Raises UsageError when an address is given: a demo trains on and writes to what it is pointed at.
    """
    given = [part for part in PARTS if not settings.is_embedded(part)]
    if given:
        raise UsageError(
            f"an address is set for {', '.join(given)}, and the demo would write to it; unset it: the demo runs its own"
        )
    stream = settings.stream.model_copy(update={"archive_interval_s": ARCHIVE_INTERVAL_S})
    home = settings.home / "demo"
    serving = settings.serving.model_copy(update={"keys": settings.serving.keys or str(home / KEYS)})
    product = ROOT / "examples" / "oulad"
    return settings.model_copy(update={"home": home, "product": product, "stream": stream, "serving": serving})


@contextmanager
def own_home(settings: Settings) -> Iterator[Path]:
    """Hold the demo's home, emptied. Raises ConflictError when another demo holds it."""
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"another demo runs in {home}; stop it with Ctrl-C, or set FIRSTMILE_HOME and other ports for a second"
            ) from None
        run_folder = home / "run"
        process.stop(run_folder, process.recorded(run_folder), deadline_s=5)
        shutil.rmtree(home)
        home.mkdir()
        (home / KEYS).touch(mode=0o600)  # without keys yet; a file that was named must be there
        yield home


def environment_file(settings: Settings) -> Path:
    """Write `<home>/env`: source it in a shell and every verb is found there and talks to this demo. Readable by its
    owner alone."""
    path = settings.home / "env"
    path.touch(mode=0o600)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in as_environment(settings).items()]
    lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n")
    path.write_text("".join(lines))
    return path
