"""Where the decision API is."""

from typing import Final

from firstmile.setting_sections import ServingSettings

PREFIX: Final = "/api"
ROUTE: Final = "/personalization"
EXPOSURE_ROUTE: Final = "/exposure"


def base_address(serving: ServingSettings) -> str:
    """Base address of the decision API, for callers on this machine.

    >>> base_address(ServingSettings(host="0.0.0.0", port=8080))
    'http://127.0.0.1:8080'
    """
    host = "127.0.0.1" if serving.host in ("0.0.0.0", "::") else serving.host
    return f"http://{host}:{serving.port}"
