"""The live line of a long-running process, on a real terminal and without one."""

import os
import pty
import subprocess
import sys

PROGRAM = """
from firstmile.progress_line import progress_line
with progress_line("waiting") as show:
    print("no terminal" if show is None else "terminal", flush=True)
    if show:
        show("12 records [3 users]")
"""


def test_on_a_terminal_the_line_shows_the_newest_text() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # Linux says EIO where the other side has closed
        pass
    os.close(ours)
    assert child.wait(60) == 0
    text = seen.decode()
    assert "terminal" in text
    assert text.index("waiting") < text.index("12 records [3 users]")


def test_without_a_terminal_there_is_no_line() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("no terminal\n", "")
