"""Fetching from Maven Central with the Ivy that ships in pyspark: Java and pyspark are all it takes.

A set of jars is made in a folder beside its place and renamed, so it is there whole or not at all.
"""

import fcntl
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from firstmile.errors import DependencyError
from firstmile.local.process import die_with_parent
from firstmile.settings import Settings

log = logging.getLogger(__name__)

PROGRESS_S = 3.0


@dataclass(frozen=True)
class JarSet:
    """One folder of the cache: what Ivy resolves into it and what is done to it before it counts as there.

    has_poms
        False: take the artifacts as named, without asking their poms, whose parents a mirror may not have.
    """

    name: str
    version: str
    about_mb: int
    dependencies: str
    finish: Callable[[Path], None]
    has_poms: bool = True

    def folder(self, settings: Settings) -> Path:
        """Where the set is once it is complete."""
        return settings.cache / "jars" / f"{self.name}-{self.version}"


def fetch(settings: Settings, sets: Sequence[JarSet]) -> None:
    """Fetch the sets that are not there, side by side; does nothing and says nothing when all are.

    Raises DependencyError when Java or Maven Central is out of reach.
    """
    if all(s.folder(settings).is_dir() for s in sets):
        return
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings.cache / "jars"))
        wanted = [s for s in sets if not s.folder(settings).is_dir()]
        downloads = []
        for jar_set in wanted:
            place = Path(tempfile.mkdtemp(prefix=f".{jar_set.name}-", dir=settings.cache / "jars"))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            downloads.append(_Download(settings, jar_set, place=place))
            stack.callback(downloads[-1].stop)
        _watch(downloads)


def pyspark_version() -> str:
    """The installed pyspark's version. Raises DependencyError when there is none."""
    try:
        return metadata.version("pyspark")
    except metadata.PackageNotFoundError:
        raise DependencyError("pyspark is not installed, and the jars come through its Ivy; run `make setup`") from None


def pyspark_jars() -> Path:
    """pyspark's folder of jars, found without importing pyspark."""
    spec = util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise DependencyError("pyspark is not installed, and the jars come through its Ivy; run `make setup`")
    return Path(spec.origin).parent / "jars"


class _Download:
    """Ivy at work on one set, in a folder of its own."""

    def __init__(self, settings: Settings, jar_set: JarSet, *, place: Path) -> None:
        self.jar_set, self.settings, self.place = jar_set, settings, place
        self.started = time.monotonic()
        self.output = place / "ivy.log"
        source = settings.local.maven_url
        log.info("fetching %s %s (about %d MB) from %s", jar_set.name, jar_set.version, jar_set.about_mb, source)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        ours = {"cache": self.place / "cache", "url": self.settings.local.maven_url}
        ours["poms"] = str(self.jar_set.has_poms).lower()
        (self.place / "settings.xml").write_text(_SETTINGS_XML.format(**ours))
        (self.place / "ivy.xml").write_text(_IVY_XML.format(dependencies=self.jar_set.dependencies))
        jars = pyspark_jars()
        ivy = next(jars.glob("ivy-*.jar"))
        pattern = self.place / "jars" / "[artifact]-[revision](-[classifier]).[ext]"
        command = [self.settings.local.java, "-cp", f"{ivy}:{jars}/*", "org.apache.ivy.Main"]
        command += ["-settings", str(self.place / "settings.xml"), "-ivy", str(self.place / "ivy.xml")]
        command += ["-retrieve", str(pattern)]
        try:
            with self.output.open("wb") as out:
                return subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=die_with_parent())
        except FileNotFoundError:
            raise DependencyError(
                f"{self.settings.local.java!r} was not found; install Java 17 "
                "(apt-get install openjdk-17-jre-headless) or name it in FIRSTMILE_LOCAL__JAVA"
            ) from None

    def is_done(self) -> bool:
        """Whether the set is in its place now. Raises DependencyError when Ivy failed."""
        if self.process.poll() is None:
            return False
        jars = self.place / "jars"
        if self.process.returncode or not jars.is_dir():
            raise self._failure()
        self.jar_set.finish(jars)
        jars.rename(self.jar_set.folder(self.settings))
        log.info("%s is there after %.0f s", self.jar_set.name, time.monotonic() - self.started)
        return True

    def say_progress(self) -> None:
        """One line: how much has come so far."""
        n_bytes = sum(f.stat().st_size for f in (self.place / "cache").glob("**/*") if f.is_file())
        log.info("fetching %s: %.0f of about %d MB", self.jar_set.name, n_bytes / 1e6, self.jar_set.about_mb)

    def stop(self) -> None:
        """Stop Ivy."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _failure(self) -> DependencyError:
        text = self.output.read_text(errors="replace")
        reasons = _NETWORK.findall(text) or _UNRESOLVED.findall(text)
        why = "; ".join(dict.fromkeys(reasons[:3])) or text[-500:].strip()
        local = self.settings.local
        return DependencyError(
            f"{self.jar_set.name} {self.jar_set.version} could not be fetched from {local.maven_url}: {why}. "
            "Check that this machine reaches it (behind a proxy: "
            "JAVA_TOOL_OPTIONS='-Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT'), or name a mirror in "
            f"FIRSTMILE_LOCAL__MAVEN_URL, or copy {self.jar_set.folder(self.settings)} from a machine that has it"
        )


def _watch(downloads: list[_Download]) -> None:
    next_line = time.monotonic() + PROGRESS_S
    left = downloads
    while left:
        left = [d for d in left if not d.is_done()]
        if left and time.monotonic() > next_line:
            next_line += PROGRESS_S
            for download in left:
                download.say_progress()
        if left:
            time.sleep(0.1)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the cache's lock, so that two who find it empty fetch once; sweep what a killed fetch left."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that is filling %s", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        for entry in folder.iterdir():
            if entry.is_dir() and entry.name.startswith("."):
                shutil.rmtree(entry, ignore_errors=True)
        yield


_NETWORK = re.compile(r"HttpClientHandler: (.+) url=")
_UNRESOLVED = re.compile(r":: (.+: (?:not found|.*invalid.*))$", re.MULTILINE)

_SETTINGS_XML = """<ivysettings>
  <settings defaultResolver="central"/>
  <timeout-constraints>
    <timeout-constraint name="maven" connectionTimeout="10000" readTimeout="60000"/>
  </timeout-constraints>
  <caches defaultCacheDir="{cache}"/>
  <resolvers>
    <ibiblio name="central" m2compatible="true" root="{url}" usepoms="{poms}" timeoutConstraint="maven"/>
  </resolvers>
</ivysettings>
"""

_IVY_XML = """<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="firstmile" module="jars"/>
  <configurations><conf name="jars"/></configurations>
  <dependencies>{dependencies}</dependencies>
</ivy-module>
"""
