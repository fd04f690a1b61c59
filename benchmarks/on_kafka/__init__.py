"""The measures on a real Kafka; `benchmarks/kafka.py` is their command."""
