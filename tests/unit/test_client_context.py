"""What the context of a call says of a person's device, and what it does not say."""

from typing import Any

import pytest

from pipelines.client_context import context_facts
from pipelines.devices import DEVICES

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (CHROME + " Edg/131.0", "desktop windows edge"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 Safari/604.1", "mobile ios safari"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/131.0 Safari/537.36", "tablet android chrome"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/131.0 Mobile Safari/537.36", "mobile android chrome"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "desktop linux firefox"),
        (CHROME.replace("Chrome/131.0", "Chrome/131.0.0.0") + " OPR/115.0.0.0", "desktop windows opera"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) CriOS/120.0.0.0 Mobile/15E148", "mobile ios chrome"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.0 Safari/605.1.15", "desktop macos safari"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/120.0.0.0 Safari/537.36", "desktop linux chrome"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel 6 Build/TQ3A.230901.001)", "mobile android"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; SM-X700 Build/TP1A)", "tablet android"),
        (
            "Mozilla/5.0 (Linux; Android 9; AFTWMST22) AppleWebKit/537.36 Silk/108 like Chrome/108 Safari/537.36",
            "tv android",
        ),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) Version/17.0 Mobile/15E148 Safari/604.1", "tablet ios safari"),
        ("curl/8", ""),
    ],
)
def test_user_agents_are_read(agent: str, said: str) -> None:
    assert " ".join(context_facts({"userAgent": agent}).values()) == said


@pytest.mark.parametrize(
    ("context", "device"),
    [
        ({"device": {"type": "ios"}}, "mobile"),
        ({"device": {"type": "android"}}, "mobile"),
        ({"device": {"type": "ios", "model": "iPad13,4"}}, "tablet"),
        ({"device": {"type": "ios", "name": "Ann's iPad"}}, "tablet"),
        ({"device": {"type": "ios"}, "os": {"name": "iPadOS"}}, "tablet"),
        ({"device": {"type": "android", "model": "Galaxy Tab S8"}}, "tablet"),
        ({"device": {"type": "android"}, "os": {"name": "Android TV"}}, "tv"),
        ({"device": {"type": "Smart-TV"}}, "tv"),
        ({"device": {"type": "Mobile"}, "userAgent": CHROME}, "mobile"),
        ({"device": {"type": "TABLET"}}, "tablet"),
        ({"device": {"type": "pc"}}, "desktop"),
        ({"device": {"type": "web"}, "userAgent": CHROME}, "desktop"),
        ({"device": {"type": "web"}}, "other"),
        ({"device": {"type": "watchos"}}, "other"),
        ({"device": {"model": "iPhone14,2"}}, "mobile"),
        ({"device": {"model": "iPad13,4"}, "userAgent": CHROME.replace("Windows NT 10.0", "Macintosh")}, "tablet"),
        ({"userAgent": "App/1 CFNetwork/1410.0.3 Darwin/22.6.0"}, "mobile"),
        ({"device": {"id": "x"}}, None),
    ],
)
def test_device_is_one_of_a_closed_list(context: dict[str, Any], device: str | None) -> None:
    assert context_facts(context).get("device") == device
    assert device is None or device in DEVICES


def test_a_malformed_context_says_nothing() -> None:
    odd = {
        "device": "phone",
        "os": [],
        "campaign": 3,
        "network": "wifi",
        "page": {"referrer": "http://[bad"},
        "locale": 7,
    }
    assert context_facts(odd) == {}
