"""Message ids of what a call becomes besides its event: made of the event's, and never those of another event.

A client may send any id, also one that looks like ours. Such an id is written with a mark after it, so that of two
records with one id the second is always the first one sent again.
"""

import re
from typing import Final, Literal

MARK: Final = "~"

_LIKE_OURS: Final = re.compile(f".*:(?:context|profile){MARK}*", re.DOTALL)


def sent_id(message_id: str) -> str:
    """The id of an event as it is written: the client's, unless it ends as ours do.

    >>> sent_id("m1"), sent_id("m1:context"), sent_id("m1:context~")
    ('m1', 'm1:context~', 'm1:context~~')
    """
    return message_id + MARK if _LIKE_OURS.fullmatch(message_id) else message_id


def derived_id(written_id: str, what: Literal["context", "profile"]) -> str:
    """The id of the context or profile of an event.

    written_id
        The event's, by `sent_id`.

    >>> derived_id(sent_id("m1"), "context"), derived_id(sent_id("m1:context"), "context")
    ('m1:context', 'm1:context~:context')
    """
    return f"{written_id}:{what}"
