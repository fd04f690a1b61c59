"""The tables of the embedded log's file, and the numbers that say the file is ours."""

from __future__ import annotations

# "StrA": what `file` and SQLite itself show of whom a database belongs to.
APPLICATION_ID = 0x53747241

# Raise it with every change to the tables; an older program then refuses the newer file.
SCHEMA_VERSION = 2
# From this one on each record has a checksum (record_columns.py); a log of before goes on without.
CHECKED_SINCE = 2

# SQLite up to 3.51.2 can corrupt a WAL database that several processes write and checkpoint.
SQLITE_VERSION_MIN = (3, 51, 3)

PAGE_BYTES = 8192
WAL_CHECKPOINT_PAGES = 1000
WAL_BYTES_KEPT_MAX = 64 << 20

# A record's row id is its partition's row id and its offset, so that a partition lies together
# in the file, in order, and needs no index.
OFFSET_BITS = 40

CREATE_TABLES = """
CREATE TABLE log (
    log_id TEXT NOT NULL
) STRICT;

CREATE TABLE partitions (
    row_id INTEGER PRIMARY KEY CHECK (row_id < 8388608),
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0,
    next_offset INTEGER NOT NULL DEFAULT 0 CHECK (next_offset < 1099511627776),
    append_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
) STRICT;

CREATE TABLE records (
    position INTEGER PRIMARY KEY,
    timestamp_ms INTEGER NOT NULL,
    key BLOB,
    value BLOB NOT NULL,
    headers BLOB
) STRICT;

CREATE TABLE ledger (
    ledger TEXT NOT NULL,
    partition INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ledger, partition, key)
) STRICT;

CREATE TABLE claims (
    ledger TEXT NOT NULL,
    partition INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    next_offset INTEGER,
    PRIMARY KEY (ledger, partition)
) STRICT;
"""

SELECT_TOPICS = "SELECT topic, partition, row_id FROM partitions ORDER BY topic, partition"
INSERT_PARTITION = "INSERT INTO partitions (topic, partition) VALUES (?, ?)"
SELECT_BOUNDS = "SELECT start_offset, next_offset FROM partitions WHERE row_id = ?"
# One aggregate at a time: SQLite finds that without reading what is in between.
SELECT_ENDS = (
    "SELECT (SELECT min(position) FROM records WHERE position >= ? AND position < ?),"
    " (SELECT max(position) FROM records WHERE position >= ? AND position < ?)"
)
SELECT_COUNTER = "SELECT next_offset, append_ms FROM partitions WHERE row_id = ?"
UPDATE_COUNTER = "UPDATE partitions SET next_offset = ?, append_ms = ? WHERE row_id = ?"
UPDATE_START = "UPDATE partitions SET start_offset = ? WHERE row_id = ?"

# Every statement lets go of Python's global lock and may wait long for it beside a busy thread,
# so records are inserted many at a time.
ROWS_PER_INSERT = 50
_COLUMNS = "INSERT INTO records (position, timestamp_ms, key, value, headers) VALUES "
INSERT_RECORD = _COLUMNS + "(?, ?, ?, ?, ?)"
INSERT_CHUNK = _COLUMNS + ", ".join(["(?, ?, ?, ?, ?)"] * ROWS_PER_INSERT)
SELECT_RECORDS = (
    "SELECT position, timestamp_ms, key, value, headers FROM records"
    " WHERE position >= ? AND position < ? ORDER BY position LIMIT ?"
)
SELECT_APPEND_TIME = "SELECT timestamp_ms FROM records WHERE position = ?"
DELETE_RECORDS = "DELETE FROM records WHERE position >= ? AND position < ?"

SELECT_LEDGER = "SELECT value FROM ledger WHERE ledger = ? AND partition = ? AND key = ?"
UPSERT_LEDGER = (
    "INSERT INTO ledger (ledger, partition, key, value) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET value = excluded.value"
)

RAISE_EPOCH = (
    "INSERT INTO claims (ledger, partition, epoch) VALUES (?, ?, 1)"
    " ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch"
)
SELECT_CLAIM = "SELECT epoch, next_offset FROM claims WHERE ledger = ? AND partition = ?"
UPDATE_CLAIM = "UPDATE claims SET next_offset = ? WHERE ledger = ? AND partition = ?"
