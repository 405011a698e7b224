"""`firstmile features USER`: a user's row, windows and lag, online now or as they were at a time."""

from datetime import UTC, datetime
from typing import Annotated, Any

import pandas as pd
import redis
import typer

from feature_repo.activity import FEATURE_NAMES
from feature_repo.fields import PROFILE_NUMBERS
from feature_repo.lag import EndOffsets
from feature_repo.reader import OnlineReader
from feature_repo.store import apply
from firstmile.broker import admin, kafka_must_answer
from firstmile.cli import console, emit
from firstmile.clock import SystemClock, iso, to_us
from firstmile.errors import DataError, DependencyError, UsageError
from firstmile.settings import Settings, load_settings


def run(
    user: Annotated[str, typer.Argument(help="user_id, for example u17")],
    at: Annotated[str, typer.Option(help="instant in ISO 8601, from the offline history; default: online, now")] = "",
    all_features: Annotated[bool, typer.Option("--all", help="also the features that are 0")] = False,
) -> None:
    """Show a user's row, windows and lag, now (online store) or at a time (offline history)."""
    settings = load_settings()
    found = _online(settings, user) if not at else _offline(settings, user, _instant(at))
    if not all_features:
        found["features"] = {name: value for name, value in found["features"].items() if value}
    emit(found)


def _instant(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text!r} is not an instant; write 2014-10-08 or 2014-10-08T12:00:00+00:00") from None
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _online(settings: Settings, user: str) -> dict[str, Any]:
    clock = SystemClock()
    reader = OnlineReader(settings)
    try:
        found = reader.read(user, clock.now_us())
        lag_ms = _lag_ms(settings, user, reader) if found is not None else None
    except redis.RedisError as error:
        raise DependencyError(f"Redis does not answer: {error}; see `firstmile status`") from error
    if found is None:
        raise DataError(f"nothing is stored of {user!r} online; was it replayed or materialized?")
    return {
        "user_id": user,
        "row_version": iso(found.row_version_us) if found.row_version_us else None,
        "pipeline_lag_ms": lag_ms,
        "step": found.step,
        "profile": dict(found.profile),
        "context": dict(found.context),
        "features": dict(found.values),
    }


def _lag_ms(settings: Settings, user: str, reader: OnlineReader) -> float | None:
    """Pipeline lag of the user's partitions, ms; None where Kafka does not say where its topics end."""
    try:
        ends = EndOffsets(
            admin(settings),
            clock=SystemClock(),
            read_progress=reader.read_progress,
            n_partitions=settings.kafka.partitions,
        )
        with kafka_must_answer(settings.kafka_servers):
            ends.look(settings.kafka.timeout_s)
    except DependencyError as error:
        console.print(f"the pipeline's lag is not known: {error}", highlight=False)
        return None
    return OnlineReader(settings, ends=ends).pipeline_lag_ms(user)


def _offline(settings: Settings, user: str, now_us: int) -> dict[str, Any]:
    store = apply(settings)
    entities = pd.DataFrame({"user_id": [user], "now_us": [now_us]})
    entities["event_timestamp"] = pd.to_datetime(entities["now_us"], unit="us", utc=True)
    names = [f"activity_windows:{name}" for name in FEATURE_NAMES]
    names += [f"user_profile:{name}" for name in PROFILE_NUMBERS]
    row = store.get_historical_features(entities, features=names).to_df().iloc[0]
    features = {name: None if pd.isna(row[name]) else float(row[name]) for name in (*FEATURE_NAMES, *PROFILE_NUMBERS)}
    return {"user_id": user, "at": iso(now_us), "features": features}
