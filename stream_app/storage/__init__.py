"""What one machine needs: the SQLite event log, the RocksDB state store, in-memory doubles of both."""
