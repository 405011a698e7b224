"""Events to features: collector, replay, stream, archive, backfill. Meets the other stages in topics and stores."""
