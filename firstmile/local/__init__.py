"""The embedded stack: real Kafka, registry, Redis and MLflow on loopback, for a laptop and for tests."""
