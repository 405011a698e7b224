"""What every test may ask for. A stack is real, on free ports, in a temporary home, and ends with pytest however
pytest ends: the fixtures stop it, and the kernel does if pytest is killed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import prometheus_client  # noqa: F401 - before Feast, whose import lets all registries of a process share their counters
import pytest

from firstmile.cores import usable_cores
from firstmile.local import ports
from firstmile.local.stack import Stack
from firstmile.setting_sections import ROOT
from firstmile.settings import PREFIX, Part, Settings

KEPT = ("FIRSTMILE_CACHE", "FIRSTMILE_LOCAL__JAVA", "FIRSTMILE_LOCAL__MAVEN_URL")

hypothesis.settings.register_profile("firstmile", deadline=None)  # a busy machine is no fault of an example
hypothesis.settings.load_profile("firstmile")

MOST_WORKERS = 4
"""Each holds a stack of its own: 2 GiB, and what a test trains beside it."""

FreeSettings = Callable[..., Settings]


def pytest_configure() -> None:
    """A developer's own addresses must not reach a test: it would write to their Kafka and their Redis."""
    for name in [n for n in os.environ if n.startswith(PREFIX) and n not in KEPT]:
        del os.environ[name]
    os.environ["FIRSTMILE_PRODUCT"] = str(ROOT / "examples" / "oulad")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of processes wait half of their time. Two to a core were no faster."""
    return min(MOST_WORKERS, usable_cores() + 1)


def free_ports(n: int) -> list[int]:
    """n ports nobody listens on, and no test of another worker is about to."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return ports.free_ports(n, within=ports.FREE[int(worker) :: MOST_WORKERS])


def settings_on_free_ports(home: Path, **sections: Any) -> Settings:
    """Settings whose every port is free; `sections` adds to or replaces values: `serving={"budget_ms": 50}`."""
    free = iter(free_ports(9))
    local = ("kafka", "kafka_controller", "registry", "registry_management", "redis", "mlflow")
    given: dict[str, Any] = {
        "local": {f"{name}_port": next(free) for name in local},
        "collector": {"port": next(free)},
        "serving": {"port": next(free)},
        "monitoring": {"ui_port": next(free)},
    }
    for name, values in sections.items():
        given[name] = {**given.get(name, {}), **values} if isinstance(values, dict) else values
    return Settings(home=home, **given)


@pytest.fixture
def free_settings(tmp_path: Path) -> FreeSettings:
    """A home of its own with nothing running: `free_settings()`, `free_settings(redis={"timeout_s": 1})`."""

    def make(**sections: Any) -> Settings:
        return settings_on_free_ports(tmp_path / "home", **sections)

    return make


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The whole embedded stack, topics made and schemas registered; shared, so use random ids and topics."""
    from pipelines.topics import ensure_topics

    with _running(tmp_path_factory.mktemp("stack"), None) as settings:
        ensure_topics(settings)
        yield settings


@pytest.fixture(scope="session")
def redis_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Redis alone; shared, so use random ids."""
    with _running(tmp_path_factory.mktemp("redis"), ["redis"]) as settings:
        yield settings


@contextmanager
def _running(home: Path, parts: list[Part] | None) -> Iterator[Settings]:
    settings = settings_on_free_ports(home)
    stack = Stack(settings, with_parent=True)
    stack.up(parts)
    try:
        yield settings
    finally:
        stack.down()
