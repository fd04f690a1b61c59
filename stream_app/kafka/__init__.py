"""Real brokers: the log on Apache Kafka, its topics and ledger, and the Faust worker."""
