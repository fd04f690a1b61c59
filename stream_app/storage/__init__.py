"""What one machine needs: SQLite event log, RocksDB state store, in-memory doubles of both."""
