"""The forms in which clients say consent in the `context` of a call, read for the categories that count.

consent                 true, false or a word; Segment's {"categoryPreferences": {category: …}}; the categories
                        themselves, as OneTrust's and Ketch's wrappers and Google's consent mode give them
consentManagement       RudderStack's {"allowedConsentIds": [category], "deniedConsentIds": [category]}
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

CONTAINERS: Final = ("categoryPreferences", "purposes", "categories", "groups")
ID_LISTS: Final = {"deniedConsentIds": False, "allowedConsentIds": True}
OF_ONE: Final = ("allowed", "granted", "consent", "status")
"""Fields of a category that is said by an object, as Ketch does."""
YES: Final = frozenset(("true", "yes", "1", "granted", "grant", "allowed", "allow", "accepted", "opt_in", "opted_in"))
NO: Final = frozenset(
    ("false", "no", "0", "denied", "deny", "disallowed", "disallow", "rejected", "refused", "opt_out", "opted_out")
)


class UnreadableError(ValueError):
    """A form that says neither yes nor no: it may be a no."""


def answers(context: Mapping[str, Any], categories: Set[str]) -> Iterator[bool]:
    """Every yes and no that the context holds for one of the categories.

    categories
        Case-folded. `analytics` is also Google's `analytics_storage`.

    Raises UnreadableError for what is there and cannot be read.

    >>> list(answers({"consent": {"categoryPreferences": {"Analytics": "granted"}}}, {"analytics"}))
    [True]
    >>> list(answers({"consentManagement": {"deniedConsentIds": ["C0002", "Analytics"]}}, {"analytics"}))
    [False]
    """
    names = categories | {f"{name}_storage" for name in categories}
    yield from _of_consent(context.get("consent"), names)
    yield from _of_management(context.get("consentManagement"), names)


def _of_consent(said: Any, names: Set[str]) -> Iterator[bool]:
    if said is None or said == []:  # PHP writes an empty object so
        return
    if not isinstance(said, Mapping):
        yield _yes_or_no(said)
        return
    yield from _of_categories({name: value for name, value in said.items() if name not in CONTAINERS}, names)
    for name in CONTAINERS:
        yield from _of_categories(said.get(name), names)


def _of_categories(said: Any, names: Set[str]) -> Iterator[bool]:
    if said is None or said == []:
        return
    if not isinstance(said, Mapping):
        raise UnreadableError
    for name, value in said.items():
        if name.strip().casefold() in names and value is not None:
            yield _yes_or_no(value)


def _of_management(said: Any, names: Set[str]) -> Iterator[bool]:
    if said is None or said == []:
        return
    if not isinstance(said, Mapping):
        raise UnreadableError
    for field, answer in ID_LISTS.items():
        ids = said.get(field)
        if isinstance(ids, Mapping):
            yield from (found for found in _of_categories(ids, names) if answer)
            yield from (False for found in _of_categories(ids, names) if found and not answer)
        elif ids is not None:
            yield from (answer for each in _texts(ids) if each.strip().casefold() in names)


def _texts(ids: Any) -> Iterator[str]:
    for each in ids.split(",") if isinstance(ids, str) else ids if isinstance(ids, list) else [ids]:
        if isinstance(each, bool) or not isinstance(each, str | int):
            raise UnreadableError
        yield str(each)


def _yes_or_no(said: Any) -> bool:
    if isinstance(said, Mapping):
        said = next((said[name] for name in OF_ONE if name in said), None)
    word = said.strip().casefold() if isinstance(said, str) else str(bool(said)).lower() if said in (0, 1) else ""
    if word in YES:
        return True
    if word in NO:
        return False
    raise UnreadableError
