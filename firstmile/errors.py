"""Every error of ours.

    FirstmileError               exit 1: the work was refused or could not be done
    ├── UsageError               exit 2: called wrongly, nothing was tried
    ├── SettingsError            exit 2: a setting is unknown or out of range
    ├── DependencyError          a part we rely on (Kafka, Redis, …) is missing or does not answer
    ├── DataError                input data is missing, malformed or contradicts itself
    │   ├── FileError            exit 2: a file that people write (rules, names, labels, keys) is wrong
    │   └── WireError            bytes that are not a record we can read
    ├── StoreLossError           the online store lost or rolled back rows: `firstmile recover`
    ├── ConflictError            somebody else holds or changed what we wanted to write
    └── GateError                a gate or a check said no

A message says what happened with the value, what was allowed, and what to do.
"""


class FirstmileError(Exception):
    """Base of all; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(FirstmileError):
    """Called wrongly; nothing was tried."""

    exit_code = 2


class SettingsError(FirstmileError):
    """A setting is unknown or out of range."""

    exit_code = 2


class DependencyError(FirstmileError):
    """A part we rely on is missing or does not answer."""


class DataError(FirstmileError):
    """Input data is missing, malformed or contradicts itself."""


class FileError(DataError):
    """A file that people write is missing or says something that cannot be; nothing was tried."""

    exit_code = 2


class WireError(DataError):
    """Bytes that are not a record we can read."""


class StoreLossError(FirstmileError):
    """The online store is behind what the stream has already written."""


class ConflictError(FirstmileError):
    """Somebody else holds or changed what we wanted to write."""


class GateError(FirstmileError):
    """A gate or a check said no."""


def unknown_name(kind: str, name: str, known: object) -> str:
    """The text for a name nobody knows, listing those that are.

    >>> unknown_name("model", "churn", ["activation", "skill_level"])
    "unknown model 'churn'; known: activation, skill_level"
    """
    names = ", ".join(sorted(str(k) for k in known))  # type: ignore[attr-defined]
    return f"unknown {kind} {name!r}; known: {names}"
