"""The `context` of a tracking call as facts about where a person is: device, os, browser, locale, country, campaign,
referrer, connection. What a client says of itself goes first, its user agent second."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

FACTS: Final = ("device", "os", "browser", "locale", "country", "campaign", "referrer", "connection")

# The first that matches; most browsers name their ancestors too, so the order matters.
_SYSTEMS = (
    ("ios", r"iPhone|iPad|iPod"),
    ("android", r"Android"),
    ("windows", r"Windows"),
    ("macos", r"Mac OS X|Macintosh"),
    ("linux", r"Linux|CrOS"),
)
_BROWSERS = (
    ("edge", r"Edg(e|A|iOS)?/"),
    ("opera", r"OPR/|Opera"),
    ("firefox", r"Firefox/|FxiOS/"),
    ("chrome", r"Chrome/|CriOS/|Chromium/"),
    ("safari", r"Safari/"),
)


def context_facts(context: Mapping[str, Any]) -> dict[str, str]:
    """The facts a context holds, by name of FACTS; what it does not say is left out.

    >>> context_facts({"locale": "en-GB", "device": {"type": "Mobile"}, "network": {"wifi": True}})
    {'device': 'mobile', 'locale': 'en-GB', 'connection': 'wifi'}
    """
    agent = _said(context, "userAgent")
    campaign = context.get("campaign")
    found = {
        "device": _said(context, "device", "type").lower() or _device(agent),
        "os": _said(context, "os", "name").lower() or _first(_SYSTEMS, agent),
        "browser": _said(context, "browser", "name").lower() or _first(_BROWSERS, agent),
        "locale": _said(context, "locale"),
        "country": _said(context, "location", "country"),
        "campaign": campaign if isinstance(campaign, str) else _said(context, "campaign", "name"),
        "referrer": _referrer(_said(context, "referrer", "url") or _said(context, "page", "referrer")),
        "connection": _connection(context.get("network")),
    }
    return {name: found[name][:256] for name in FACTS if found[name]}


def _said(context: Mapping[str, Any], *path: str) -> str:
    value: Any = context
    for key in path:
        if not isinstance(value, Mapping):
            return ""
        value = value.get(key)
    return value.strip() if isinstance(value, str) else ""


def _device(agent: str) -> str:
    if re.search(r"iPad|Tablet|Android(?!.*Mobile)", agent):
        return "tablet"
    if re.search(r"Mobi|iPhone|iPod", agent):
        return "mobile"
    return "desktop" if _first(_SYSTEMS, agent) else ""


def _first(known: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for name, pattern in known if re.search(pattern, agent)), "")


def _referrer(url: str) -> str:
    """The host alone: paths and queries of other sites may name a person."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _connection(network: Any) -> str:
    if not isinstance(network, Mapping):
        return ""
    for key in ("type", "effectiveType"):
        if isinstance(network.get(key), str):
            return str(network[key]).lower()
    return next((name for name in ("wifi", "cellular", "bluetooth") if network.get(name) is True), "")
