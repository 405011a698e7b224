"""Writes the events to the offline history without Kafka."""
