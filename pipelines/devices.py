"""What kind of device a person holds, of a closed list: what the client says of it first, its user agent second."""

import re
from collections.abc import Mapping
from typing import Final

DEVICES: Final = ("mobile", "tablet", "desktop", "tv", "other")

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "mobile": (
        "mobile",
        "phone",
        "mobile phone",
        "smartphone",
        "phablet",
        "handset",
        "iphone",
        "ipod",
        "ios",
        "android",
    ),
    "tablet": ("tablet", "ipad", "ipados"),
    "desktop": ("desktop", "pc", "computer", "laptop", "notebook", "mac", "macos", "mac os x", "windows", "linux"),
    "tv": ("tv", "smarttv", "smart tv", "appletv", "apple tv", "tvos", "androidtv", "android tv", "ctv", "ott", "roku"),
    "other": ("other", "watch", "watchos", "wearable", "console", "game console", "car", "embedded", "vr"),
}
"""`ios` and `android` are what Segment's and RudderStack's clients say of a phone, and of a tablet alike."""
_KIND_OF: Final = {word: kind for kind, words in _WORDS.items() for word in words}
_BROWSER: Final = "Mozilla/"

_TV: Final = re.compile(r"\bTV\b|smart-?tv|appletv|googletv|hbbtv|bravia|crkey|roku|web0s|netcast|\bAFT[A-Z]", re.I)
_TABLET: Final = re.compile(
    r"ipad|tablet|\btab\b|\bpad\b|kindle|mediapad|matepad|nexus (?:7|9|10)\b|pixel c\b"
    r"|\bSM-[TXP]\d|\bGT-P\d|\bTB-|\bKF[A-Z]{2}",  # Samsung's, Lenovo's and Amazon's model numbers
    re.I,
)
_PHONE: Final = re.compile(r"Mobi|iPhone|iPod")


def device_of(said: str, *, about: str, agent: str, system: str) -> str:
    """The kind of device, "" when nothing tells.

    said
        The client's own word.
    about
        Whatever names the device: its model, its name, its system's.
    system
        Of the user agent, by the words of client_context.

    >>> device_of("ios", about="iPad13,4 iPadOS", agent="", system="")
    'tablet'
    >>> device_of("", about="", agent="Dalvik/2.1.0 (Linux; U; Android 13; Pixel 6 Build/TQ3A)", system="android")
    'mobile'
    """
    kind = _KIND_OF.get(re.sub(r"[\s_-]+", " ", said.strip().casefold()), "")
    if kind in ("", "mobile"):
        named = _by_name(f"{about} {agent}", agent, system)
        kind = named if named in ("tablet", "tv") else kind or named
    return kind or ("other" if said else "")


def _by_name(names: str, agent: str, system: str) -> str:
    if _TV.search(names):
        return "tv"
    # A browser says Mobile on a phone alone; an app's agent (Dalvik, okhttp) never does.
    if _TABLET.search(names) or (agent.startswith(_BROWSER) and re.search(r"Android(?!.*Mobile)", agent)):
        return "tablet"
    if _PHONE.search(names) or system in ("ios", "android"):
        return "mobile"
    return "desktop" if system else ""
