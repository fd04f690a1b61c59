"""A real Apache Kafka on this machine's loopback, for a person's terminal and for the tests."""
