"""What answers go by: rules over a catalogue, and experiments; read from files, and again when a file changes.

A request takes the playbook once, so that it ends with the rules it began with.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from firstmile.clock import Clock
from firstmile.errors import DataError
from firstmile.product import ProductFile, product_file
from firstmile.stamps import Stamp, stamp
from firstmile.vocabulary import models_of
from serving.catalogue import Catalogue, load_catalogue
from serving.changes import objection
from serving.conditions import Fields
from serving.experiments import Experiments
from serving.experiments_file import load_experiments
from serving.policy import Policy
from serving.rules import load_rules
from serving.versions import versions

log = logging.getLogger(__name__)

Read = TypeVar("Read")
FILES: Final[tuple[ProductFile, ...]] = ("rules", "content", "experiments")


@dataclass(frozen=True)
class Playbook:
    """Rules over a catalogue, and experiments."""

    policy: Policy
    experiments: Experiments


class PlaybookFiles:
    """The playbook in force: `current` is replaced whole when a file changes; a bad file leaves it as it is.

    product
        Folder of the files.
    fields
        What the conditions of rules may look at.
    poll_s
        Between two looks at the files.
    on_file
        Told (name of the file, whether its last change is in force) for each of FILES.

    Raises DataError, naming file and line, when a file is wrong at the start.
    """

    def __init__(
        self,
        product: Path,
        fields: Fields,
        clock: Clock,
        *,
        poll_s: float = 1.0,
        on_file: Callable[[str, bool], None] = lambda name, is_ok: None,
    ) -> None:
        self._product = product
        self._paths: Mapping[str, Path] = {name: product_file(product, name) for name in FILES}
        self._fields = fields
        self._clock = clock
        self._on_file = on_file
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="playbook", daemon=True)
        self._stamps = self._look()
        self._waiting: set[str] = set()
        self._said: dict[str, str] = {}
        catalogue = load_catalogue(self._paths["content"])
        self.current = Playbook(self._policy(catalogue), load_experiments(self._paths["experiments"]))
        self._in_force(*FILES)

    def start(self) -> None:
        """Watch the files in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()

    def look(self) -> None:
        """Look at the files once; what changed and is sound is in force from now on."""
        stamps = self._look()
        changed = {name for name in FILES if stamps[name] != self._stamps[name]}
        self._stamps = stamps  # taken before reading: a change while we read shows at the next look
        self._waiting |= changed
        if changed & {"rules", "content"}:
            self._renew_policy()
        if "experiments" in changed:
            self._renew_experiments()

    def _renew_policy(self) -> None:
        """Rules are checked against the catalogue, so both are taken together or neither is."""
        catalogue, names = self.current.policy.catalogue, ["rules"]
        if "content" in self._waiting:
            found = self._taken("content", read=lambda: load_catalogue(self._paths["content"]))
            if found is not None:
                catalogue, names = found, ["content", "rules"]
            elif "rules" not in self._waiting:
                return
        policy = self._taken(*names, read=lambda: self._policy(catalogue))
        if policy is not None:
            self.current = replace(self.current, policy=policy)
            self._in_force(*names)

    def _policy(self, catalogue: Catalogue) -> Policy:
        rules = load_rules(self._fields, catalogue, self._paths["rules"])
        return Policy(
            rules, catalogue, versions(catalogue, self._paths["rules"]), learned=tuple(models_of(self._product))
        )

    def _renew_experiments(self) -> None:
        found = self._taken("experiments", read=self._next_experiments)
        if found is not None:
            self.current = replace(self.current, experiments=found)
            self._in_force("experiments")

    def _next_experiments(self) -> Experiments:
        path, now, now_us = self._paths["experiments"], self.current.experiments, self._clock.now_us()
        found = load_experiments(path)
        if (why := objection(now, found, now_us=now_us)) is not None:
            raise DataError(f"{path}: {why}")
        return found

    def _in_force(self, *names: str) -> None:
        for name in names:
            if name in self._waiting:
                log.info("%s is in force as changed", self._paths[name])
            self._waiting.discard(name)
            self._said.pop(name, None)
            self._on_file(name, True)

    def _taken(self, *names: str, read: Callable[[], Read]) -> Read | None:
        """What these files say; None when they are refused."""
        try:
            return read()
        except DataError as error:
            self._refuse(names, str(error))
        except Exception:  # an edge: whatever one file does, the change of another is to be seen
            log.exception("reading %s failed", " and ".join(str(self._paths[name]) for name in names))
            self._refuse(names, "it could not be read; the error is in the line before")
        return None

    def _refuse(self, names: Iterable[str], why: str) -> None:
        for name in names:
            self._on_file(name, False)
            if self._said.get(name) != why:
                log.error("what was in force of the %s stays: %s", name, why)
            self._said[name] = why

    def _look(self) -> dict[str, Stamp]:
        return {name: stamp(path) for name, path in self._paths.items()}

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.look()
            except Exception:  # the thread's edge: a look that fails must not be the last one
                log.exception("looking at rules, content and experiments failed; what was in force stays")
