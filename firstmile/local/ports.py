"""Ports on loopback: which are free, and who holds one that is not."""

import random
import socket
from collections.abc import Iterable

import psutil

from firstmile.errors import ConflictError

LOOPBACK = "127.0.0.1"
# Below Linux' ephemeral range (32768 up), from which the kernel takes a port for every outgoing connection.
_FREE_FROM, _FREE_TO = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_ports(n: int) -> list[int]:
    """n different ports nobody listens on. Raises ConflictError when there are not that many."""
    candidates = random.sample(range(_FREE_FROM, _FREE_TO), _FREE_TO - _FREE_FROM)
    found: list[int] = []
    for port in candidates:
        if len(found) == n:
            return found
        if is_free(port):
            found.append(port)
    raise ConflictError(f"only {len(found)} of the ports {_FREE_FROM}-{_FREE_TO} are free, {n} are needed")


def holder(port: int) -> str:
    """Who listens on a port, as text for a message: `pid 17 (java)`, or that it cannot be read."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return "a process that this user may not see"
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            if connection.pid is None:
                break
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.Error:
                break
    return "a process that this user may not see"


def require_free(ports: Iterable[tuple[str, int]]) -> None:
    """Raise ConflictError naming every taken port, its holder and the setting to change.

    ports
        (name of the setting, port).
    """
    taken = [(setting, port) for setting, port in ports if not is_free(port)]
    if taken:
        which = "; ".join(f"port {port} is held by {holder(port)}: stop it or set {setting}" for setting, port in taken)
        raise ConflictError(which)
