"""The `context` of a tracking call as facts about where a person is: device, os, browser, locale, country, campaign,
referrer, connection. What a client says of itself goes first, its user agent second."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import ua_parser

from pipelines.call_fields import plain
from pipelines.devices import device_of

FACTS: Final = ("device", "os", "browser", "locale", "country", "campaign", "referrer", "connection")

# ua-parser's families → ours. The first that the family begins with; versions and systems follow it in its names.
_BROWSERS: Final = (
    ("Edge", "edge"),
    ("Opera", "opera"),
    ("Firefox", "firefox"),
    ("Chrome", "chrome"),
    ("Chromium", "chrome"),
    ("HeadlessChrome", "chrome"),
    ("Samsung Internet", "chrome"),
    ("Mobile Safari", "safari"),
    ("Safari", "safari"),
)
_SYSTEMS: Final = (
    ("iOS", "ios"),
    ("Android", "android"),
    ("Windows", "windows"),
    ("Mac OS X", "macos"),
    *((name, "linux") for name in ("Linux", "Chrome OS", "Ubuntu", "Debian", "Fedora", "Red Hat", "SUSE", "Mint")),
)


def context_facts(context: Mapping[str, Any]) -> dict[str, str]:
    """The facts a context holds, by name of FACTS; what it does not say is left out.

    >>> context_facts({"locale": "en-GB", "device": {"type": "Mobile"}, "network": {"wifi": True}})
    {'device': 'mobile', 'locale': 'en-GB', 'connection': 'wifi'}
    """
    agent = _said(context, "userAgent")
    browser, system = _families(agent) if agent else ("", "")
    campaign = context.get("campaign")
    about = " ".join(_said(context, *way) for way in (("device", "model"), ("device", "name"), ("os", "name")))
    found = {
        "device": device_of(_said(context, "device", "type"), about=about, agent=agent, system=system),
        "os": _said(context, "os", "name").lower() or system,
        "browser": _said(context, "browser", "name").lower() or browser,
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
    return plain(value.strip()) if isinstance(value, str) else ""


def _families(agent: str) -> tuple[str, str]:
    """Browser and system, of our words."""
    found = ua_parser.parse(agent)
    return (
        _word(_BROWSERS, found.user_agent.family if found.user_agent else ""),
        _word(_SYSTEMS, found.os.family if found.os else ""),
    )


def _word(known: tuple[tuple[str, str], ...], family: str) -> str:
    return next((word for beginning, word in known if family.startswith(beginning)), "")


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
