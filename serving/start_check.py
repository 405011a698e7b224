"""Checks every file that serving reads, before it listens: a mistake ends the start once, with file and line.

A worker that found it instead would be started anew for ever, with a traceback each time.
"""

from firstmile.clock import SystemClock
from firstmile.http.key_watch import KeyWatch, decision_key
from firstmile.product import require_product
from firstmile.settings import Settings
from serving.playbook import PlaybookFiles
from serving.policy_fields import FIELDS


def check_files(settings: Settings) -> None:
    """Read rules, content, experiments and keys as a worker will.

    Raises FileError or DataError for the first mistake.
    """
    require_product(settings.product)
    PlaybookFiles(settings.product, FIELDS, SystemClock())
    KeyWatch(settings, decision_key(settings.serving))
