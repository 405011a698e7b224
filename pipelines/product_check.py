"""What the pipelines read of a product: event names, and whom to leave out."""

from typing import Any

from firstmile.names import FAMILIES
from firstmile.settings import Settings
from pipelines.mapping import read_mapping
from pipelines.rules import read_rules


def check(settings: Settings, found: dict[str, Any]) -> dict[str, Any]:
    """Event names by family, format words, consent. Raises FileError for a mistake in events.yaml or cleaning.yaml."""
    mapping, rules = read_mapping(settings.product_file("events")), read_rules(settings.product_file("cleaning"))
    own = dict(mapping.code_by_name.items())
    families = {family: sorted(n for n, code in own.items() if code == i) for i, family in enumerate(FAMILIES)}
    return {
        "events": {family: names for family, names in families.items() if names},
        "not_counted": sorted(name for name, code in own.items() if code < 0),
        "formats": sorted(set(mapping.formats.values())),
        "consent": "required" if rules.consent.is_required else "refuse_denied",
        "page_traits": sorted(rules.pages.traits),
    }
