"""Generated events: OULAD has neither devices nor servers, so a small seeded generator adds what those topics carry.

All of it is invented, independent of who the person is, and marked `generated` = "true".
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples.oulad.events.draft import PROPERTIES, draft, id_name, moments
from examples.oulad.events.milestones import sign_up_offset_us
from examples.oulad.events.seeded import FloatArray, uniform
from examples.oulad.tables.tables import OuladTables
from firstmile.clock import MICROS_PER_S
from firstmile.names import CONTEXT, SYSTEM_LOGS

GENERATED = ("generated", "true")
CONTEXT_SHARE = 0.10
"""Share of active (user, day)s on which a context is observed again."""
ERROR_SHARE = 0.01
"""Share of active (user, day)s with a server error."""
OTHER_DEVICE_SHARE = 0.15
"""Share of observations on a device that is not the user's usual one."""

Choice = tuple[tuple[str, float], ...]
DEVICES: Choice = (("desktop", 0.62), ("mobile", 0.28), ("tablet", 0.10))
SYSTEMS: dict[str, Choice] = {
    "desktop": (("windows", 0.74), ("macos", 0.20), ("linux", 0.06)),
    "mobile": (("android", 0.55), ("ios", 0.45)),
    "tablet": (("ios", 0.65), ("android", 0.35)),
}
BROWSERS: dict[str, Choice] = {
    "windows": (("chrome", 0.60), ("edge", 0.25), ("firefox", 0.15)),
    "macos": (("safari", 0.55), ("chrome", 0.45)),
    "linux": (("firefox", 0.60), ("chrome", 0.40)),
    "android": (("chrome", 0.90), ("firefox", 0.10)),
    "ios": (("safari", 0.92), ("chrome", 0.08)),
}
CONNECTIONS: dict[str, Choice] = {
    "desktop": (("ethernet", 0.35), ("wifi", 0.65)),
    "mobile": (("wifi", 0.55), ("4g", 0.40), ("3g", 0.05)),
    "tablet": (("wifi", 0.90), ("4g", 0.10)),
}
LOCALES: Choice = (("en-GB", 0.93), ("en-IE", 0.04), ("cy-GB", 0.03))
CAMPAIGNS: Choice = (("none", 0.55), ("search", 0.20), ("open-day", 0.15), ("newsletter", 0.10))
REFERRERS: Choice = (("direct", 0.50), ("search", 0.30), ("email", 0.15), ("partner", 0.05))
ROUTES: Choice = (("/quiz", 0.4), ("/forum", 0.3), ("/content", 0.3))


def generated(tables: OuladTables, clicks: pa.Table, seed: int) -> pa.Table:
    """Context Observed and Email Delivered at sign-up; on some active days Context Observed and Server Error.

    clicks
        Draft events of whole days.
    """
    registered = tables.registrations.filter(pc.is_valid(tables.registrations["date_registration"]))
    registered = registered.append_column("day", registered["date_registration"]).append_column(
        "offset_us", pa.array(sign_up_offset_us(registered, seed))
    )
    active = clicks.group_by(["presentation", "id_student", "user_id", "day"], use_threads=False).aggregate(
        [("offset_us", "min")]
    )
    active = active.rename_columns({"offset_us_min": "offset_us"})
    observed, failed = (
        active.filter(pa.array(uniform(seed, purpose, *moments(active)[:2]) < share))
        for purpose, share in (("observed", CONTEXT_SHARE), ("failed", ERROR_SHARE))
    )
    return pa.concat_tables(
        [
            _contexts(registered, "sign-up", seed),
            _contexts(observed, "active", seed),
            _emails(registered),
            _errors(failed, seed),
        ]
    )


def _contexts(rows: pa.Table, occasion: str, seed: int) -> pa.Table:
    user, day, offset_us = moments(rows)
    usual = _chosen(DEVICES, uniform(seed, "device", user))
    other = _chosen(DEVICES, uniform(seed, "other device", user, day))
    is_other = uniform(seed, "is other device", user, day) < OTHER_DEVICE_SHARE
    devices = np.where(is_other, other, usual).tolist()
    # A user's system, browser and connection stay the same on the same device.
    systems = _chosen_by(SYSTEMS, devices, uniform(seed, "os", user))
    columns: dict[str, list[str]] = {
        "device": devices,
        "os": systems,
        "browser": _chosen_by(BROWSERS, systems, uniform(seed, "browser", user)),
        "connection": _chosen_by(CONNECTIONS, devices, uniform(seed, "connection", user, day)),
        "locale": (locales := _chosen(LOCALES, uniform(seed, "locale", user)).tolist()),
        "country": [locale.rpartition("-")[2] for locale in locales],
        "campaign": _chosen(CAMPAIGNS, uniform(seed, "campaign", user)).tolist(),
        "referrer": _chosen(REFERRERS, uniform(seed, "referrer", user, day)).tolist(),
    }
    values = zip(*columns.values(), strict=True)
    said = [[*zip(columns, row, strict=True), GENERATED] for row in values]
    return draft(
        rows,
        rows["day"],
        offset_us + 200_000,
        id_name("generated", rows, rows["day"], f"context-{occasion}"),
        topic=CONTEXT,
        name="Context Observed",
        properties=pa.array(said, PROPERTIES),
    )


def _emails(rows: pa.Table) -> pa.Table:
    return draft(
        rows,
        rows["day"],
        rows["offset_us"].to_numpy() + 30 * MICROS_PER_S,
        id_name("generated", rows, "welcome-email"),
        topic=SYSTEM_LOGS,
        name="Email Delivered",
        properties=pa.array([[("template", "welcome"), GENERATED]] * rows.num_rows, PROPERTIES),
    )


def _errors(rows: pa.Table, seed: int) -> pa.Table:
    user, day, offset_us = moments(rows)
    routes = _chosen(ROUTES, uniform(seed, "route", user, day)).tolist()
    return draft(
        rows,
        rows["day"],
        offset_us + MICROS_PER_S,
        id_name("generated", rows, rows["day"], "server-error"),
        topic=SYSTEM_LOGS,
        name="Server Error",
        properties=pa.array([[("status", "500"), ("route", r), GENERATED] for r in routes], PROPERTIES),
    )


def _chosen(choice: Choice, number: FloatArray) -> Any:
    names, shares = zip(*choice, strict=True)
    at = np.searchsorted(np.cumsum(shares), number, side="right")
    return np.array(names)[np.minimum(at, len(names) - 1)]


def _chosen_by(choices: dict[str, Choice], by: list[str], number: FloatArray) -> list[str]:
    kinds = np.array(by)
    found = np.empty(len(by), dtype=object)
    for kind, choice in choices.items():
        mask = kinds == kind
        found[mask] = _chosen(choice, number[mask])
    return [str(name) for name in found]
