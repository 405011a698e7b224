"""How a long-running verb is told to stop."""

import signal
import threading


def on_stop_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set. Call it before anything that takes seconds: a signal may come first."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
