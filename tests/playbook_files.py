"""The three files of a playbook in a folder, written as an editor does it."""

from pathlib import Path

from serving_builder import NOW_US

from firstmile.clock import Clock, FixedClock
from serving.conditions import Fields
from serving.playbook import PlaybookFiles
from serving.policy_fields import FIELDS

CONTENT = "items:\n  - {content_id: accept-terms, title: T, format: document}\n"
RULE_FILE = """\
skill_level: {otherwise: beginner}
stage: {otherwise: new}
otherwise_flow: balanced
rules:
  - {name: terms, require: {content_ids: [accept-terms]}}
"""
SPLIT = """\
experiments:
  - name: e
    arms:
      - {name: a, kind: champion, share: 0.4}
      - {name: b, kind: rules, share: 0.4}
"""


class Files:
    """The three files in a folder, and what was said of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ok: dict[str, bool] = {}
        self.n = 0
        for name, text in (("content", CONTENT), ("rules", RULE_FILE), ("experiments", SPLIT)):
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """As an editor does it: a new file in the place of the old one."""
        self.n += 1
        new = self.folder / f"{self.n}.new"
        new.write_text(text)
        new.replace(self.folder / f"{name}.yaml")

    def open(self, *, fields: Fields = FIELDS, clock: Clock | None = None, poll_s: float = 1.0) -> PlaybookFiles:
        """The playbook of these files."""
        clock = clock or FixedClock(NOW_US)
        return PlaybookFiles(self.folder, fields, clock, poll_s=poll_s, on_file=self.ok.__setitem__)
