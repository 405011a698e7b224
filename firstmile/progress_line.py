"""A long-running process on a terminal shows one line that changes; in a log file it writes lines now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape

from firstmile.cli import console


@contextmanager
def progress_line(text: str) -> Iterator[Callable[[str], None] | None]:
    """What shows a new text in the line while the block runs; None where there is no terminal."""
    if not console.is_terminal:
        yield None
        return
    with console.status(escape(text), spinner="dots") as status:
        yield lambda new: status.update(escape(new))
