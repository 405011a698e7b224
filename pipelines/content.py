"""Content statistics: what happened with each content item, by segment. The one aggregate that is not in a user's row.

    lake files (onboarding.enriched, archived) ─► content_stats ─► day tiles ─► history/content_stats ─► online store

One function counts, streaming in `firstmile archive` and over whole files in `firstmile backfill`. What counts, of
events that name a content item:

    n_shown        name "Content Shown": the page says it was on screen. What decisions recommended is not an exposure
                   by itself; once the decision log is read here, it adds to the same count.
    n_opened       family content_open; opened_weight sums the events' weights
    n_completed    family content_complete
    n_skipped      family step_skip ("Step Skipped", "Content Skipped")
    n_helpful, n_unhelpful   family feedback with the property helpful = true or false

The segment is the user's as it was at the event, as the stream wrote it; "" for events enriched before it did.
"""

from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark text uses

from feature_repo.applied import ID_WINDOW_S
from feature_repo.fields import CONTENT_COUNTS

EVENTS: Final = (
    "message_id string, content_id string, name string, family string, segment string, weight long, "
    "received_us long, properties map<string, string>"
)
"""The columns of an event that `content_stats` reads, as Spark writes a schema; all but the ids may be null."""
DELAY: Final = f"{ID_WINDOW_S} seconds"
"""The watermark's: an event received longer than this before the newest is dropped, and so long is an id remembered."""
SHOWN: Final = "Content Shown"


def content_stats(events: DataFrame) -> DataFrame:
    """Counts per content item, segment and UTC day: absolute values, one row each.

    The event time of windows and watermark is `received_at`, as it is the time of a row: a client that was offline for
    a week is not late, and a closed day never changes. A message id counts once; of several records the first.

    events
        Streaming or not, with the columns of EVENTS. Streaming: update mode, duplicates are found within the watermark.

    Returns content_id, segment, day (int, since epoch), CONTENT_COUNTS (long) and received_us, the greatest counted.
    """
    flags = _counted()
    counted = events.where(F.coalesce(F.length("content_id"), F.lit(0)) > 0).withColumns(flags)
    counted = counted.where(sum((F.col(name) for name in flags), F.lit(0)) > 0)
    timed = counted.withColumn("at", F.timestamp_micros("received_us")).withWatermark("at", DELAY)
    if events.isStreaming:
        once = timed.dropDuplicatesWithinWatermark(["message_id"])
    else:
        nth = F.row_number().over(Window.partitionBy("message_id").orderBy("received_us"))
        once = timed.withColumn("nth", nth).where("nth = 1")
    sums = {name: F.sum(F.col(name).cast("long")) for name in flags}
    sums["opened_weight"] = F.sum(F.col("n_opened") * F.coalesce("weight", F.lit(1).cast("long")))
    day = F.window("at", "1 day")
    segment = F.coalesce("segment", F.lit("")).alias("segment")
    grouped = once.groupBy(day, "content_id", segment).agg(
        *(sums[name].alias(name) for name in CONTENT_COUNTS), F.max("received_us").alias("received_us")
    )
    return grouped.select(
        "content_id",
        "segment",
        F.unix_date(F.to_date("window.start")).alias("day"),
        *CONTENT_COUNTS,
        "received_us",
    )


def _counted() -> dict[str, Column]:
    """By count: 1 where the event adds to it, else 0."""
    family = F.coalesce("family", F.lit(""))
    helpful = F.lower(F.coalesce(F.col("properties").getItem("helpful"), F.lit("")))
    tests = {
        "n_shown": F.coalesce("name", F.lit("")) == SHOWN,
        "n_opened": family == "content_open",
        "n_completed": family == "content_complete",
        "n_skipped": family == "step_skip",
        "n_helpful": (family == "feedback") & (helpful == "true"),
        "n_unhelpful": (family == "feedback") & (helpful == "false"),
    }
    return {name: test.cast("int") for name, test in tests.items()}
