"""Notes: what of an accepted call was not used as it was sent, told to the sender and counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_NAMES: Final = 10
MAX_NAME_CHARS: Final = 60


@dataclass(frozen=True)
class Note:
    """One of them: `code` for programs, `message` what happened, `hint` what to do."""

    code: str
    message: str
    hint: str

    def as_json(self) -> dict[str, str]:
        """As the answer has it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


def listed(names: Iterable[str]) -> str:
    """Names as a message says them: in order, the first ones, each of bounded length.

    >>> listed(["b", "a"]), listed(f"t{i:02}" for i in range(12))[-15:]
    ('a, b', '08, t09, 2 more')
    """
    ordered = sorted(names)
    said = [name[:MAX_NAME_CHARS] for name in ordered[:MAX_NAMES]]
    return ", ".join([*said, f"{len(ordered) - MAX_NAMES} more"] if len(ordered) > MAX_NAMES else said)
