"""Ports on loopback: which are free, and who holds one that is not."""

import random
import socket
import time
from collections.abc import Iterable, Sequence

import psutil

from firstmile.errors import ConflictError

LOOPBACK = "127.0.0.1"
# Below Linux' ephemeral range (32768 up), from which the kernel takes a port for every outgoing connection.
FREE = range(20_000, 32_000)
LET_GO_S = 10.0
"""A killed process keeps its ports until the last of its threads has gone, and is seen by nobody meanwhile."""


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_ports(n: int, *, within: Sequence[int] = FREE) -> list[int]:
    """n different ports of these nobody listens on. Raises ConflictError when there are not that many."""
    candidates = random.sample(within, len(within))
    found: list[int] = []
    for port in candidates:
        if len(found) == n:
            return found
        if is_free(port):
            found.append(port)
    raise ConflictError(f"only {len(found)} of the ports {within[0]}-{within[-1]} are free, {n} are needed")


def holder_pid(port: int) -> int | None:
    """Pid of who listens on a port; None when nobody does or it may not be seen."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    listening = (c for c in connections if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN)
    return next((c.pid for c in listening), None)


def holder(port: int) -> str:
    """Who listens on a port, as text for a message: `pid 17 (java)`, or that it cannot be read."""
    pid = holder_pid(port)
    try:
        return f"pid {pid} ({psutil.Process(pid).name()})" if pid else "a process that this user may not see"
    except psutil.Error:
        return f"pid {pid}"


def require_free(ports: Iterable[tuple[str, int]]) -> None:
    """Raise ConflictError naming every taken port, its holder and the setting to change.

    ports
        (name of the setting, port).
    """
    taken = _taken(ports)
    deadline = time.monotonic() + LET_GO_S
    while time.monotonic() < deadline and any(holder_pid(port) is None for _, port in taken):
        time.sleep(0.1)
        taken = _taken(taken)
    if taken:
        which = "; ".join(f"port {port} is held by {holder(port)}: stop it or set {setting}" for setting, port in taken)
        raise ConflictError(which)


def _taken(ports: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(setting, port) for setting, port in ports if not is_free(port)]
