"""Plays the events through Kafka, all at once or at the pace of a day."""
