"""What does a user cost in Redis? MEMORY USAGE of every user's whole key after OULAD, with and without the message ids,
and what is left as one view after the other is taken away.

.venv/bin/python -m benchmarks.row_memory [--presentations BBB_2013B]
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks import lab
from benchmarks.machine import facts
from examples.oulad.history.backfill import backfill_oulad
from examples.oulad.tables import tables as oulad
from feature_repo.fields import ACTIVITY, CONTEXT, CONTEXT_FIELDS, CONTEXT_TIMES, PROFILE, PROFILE_FIELDS, PROFILE_TIMES
from feature_repo.online_store import connect, feature_field, time_field
from feature_repo.store import apply
from firstmile.setting_sections import ROOT

USER_VIEWS = ["user_activity", "user_profile", "user_context"]
TAKEN_AWAY = {
    "message_ids": [feature_field(ACTIVITY, "applied")],
    "context": [time_field(CONTEXT), *(feature_field(CONTEXT, n) for n in (*CONTEXT_FIELDS, CONTEXT_TIMES))],
    "profile": [time_field(PROFILE), *(feature_field(PROFILE, n) for n in (*PROFILE_FIELDS, PROFILE_TIMES))],
    "row": [feature_field(ACTIVITY, "activity")],
}
"""One after the other; what is left at last is the key, the version and the time of the row."""


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "oulad")
    parser.add_argument("--presentations", default="")
    given, machine = parser.parse_args(), facts()
    chosen = [p for p in given.presentations.split(",") if p] or None
    with lab.own_stack() as settings:
        backfill_oulad(settings, oulad.read(given.data, chosen), days=(None, None), workers=2)
        apply(settings).materialize(datetime(2010, 1, 1, tzinfo=UTC), datetime.now(UTC), feature_views=USER_VIEWS)
        client = connect(settings.redis_url, timeout_s=30)
        keys = [key for key in client.scan_iter(count=1_000) if b"user_id" in key]
        whole = np.array([client.memory_usage(key, samples=0) for key in keys])
        fields = [len(client.hget(key, feature_field(ACTIVITY, "activity")) or b"") for key in keys]
        left = {}
        for name, gone in TAKEN_AWAY.items():
            for key in keys:
                client.hdel(key, *gone)
            left[f"key_bytes_without_{name}"] = _spread(
                np.array([client.memory_usage(key, samples=0) or 0 for key in keys])
            )
    print(
        json.dumps(
            {
                **machine,
                "n_users": len(keys),
                "activity_bytes_mean": round(float(np.mean(fields)), 1),
                "key_bytes": _spread(whole),
                **left,
            },
            indent=1,
        )
    )


def _spread(values: "np.ndarray") -> dict[str, float]:
    return {"mean": round(float(values.mean()), 1), **{f"p{p}": float(np.percentile(values, p)) for p in (50, 99, 100)}}


if __name__ == "__main__":
    main()
