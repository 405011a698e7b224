"""What serving reads of a product: content, rules and experiments."""

from collections import Counter
from typing import Any

from firstmile.clock import SystemClock
from firstmile.settings import Settings
from serving.catalogue import GENERAL
from serving.playbook import PlaybookFiles
from serving.policy_fields import FIELDS


def check(settings: Settings, found: dict[str, Any]) -> dict[str, Any]:
    """Content by format, rules, flows.

    Raises FileError for a mistake in content.yaml, rules.yaml or experiments.yaml.
    """
    playbook = PlaybookFiles(settings.product, FIELDS, SystemClock()).current
    shelves = playbook.policy.catalogue.shelves
    rules = playbook.policy.rules
    by_format = Counter(item.format for shelf in shelves.values() for item in shelf.items)
    return {
        "content": dict(sorted(by_format.items())),
        "formats_without_content": sorted(set(found["formats"]) - set(by_format) - {"other"}),
        "cohorts_with_content_of_their_own": sorted(set(shelves) - {GENERAL}),
        "rules": [rule.name for rule in rules.rules],
        "flows": sorted({*(rule.flow for rule in rules.rules if rule.flow), rules.otherwise_flow}),
        "not_asked": sorted(rules.not_asked),
    }
