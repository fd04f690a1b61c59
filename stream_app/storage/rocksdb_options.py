"""How RocksDB keeps a state: bounds on memory, files and time, and what it checks."""

from __future__ import annotations

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
)

BLOCK_CACHE_BYTES = 64 << 20
"""Of all stores of a process together; index and filter blocks count too."""
WRITE_BUFFERS_BYTES_MAX = 64 << 20
"""Of one store; more than that is flushed to files."""
WAL_BYTES_MAX = 12 << 20
"""Of one store; bounds the time an open takes after a crash."""
FILES_OPEN_MAX = 256
"""Of one store that writes; a reader keeps every file open, or the writer could remove it."""

_FAMILY_BYTES_MAX = 16 << 20
_BLOCK_BYTES = 8 << 10
_BLOOM_BITS_PER_KEY = 10
_COMPACTED_AT_FILES = 24

_block_cache = Cache(BLOCK_CACHE_BYTES)


def options_of(*, read_only: bool) -> Options:
    """Return the options of a database, and of each of its column families."""
    table = BlockBasedOptions()
    table.set_block_cache(_block_cache)
    table.set_block_size(_BLOCK_BYTES)
    table.set_bloom_filter(_BLOOM_BITS_PER_KEY, False)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    # A filter of a million keys in one block is larger than a shard of the cache, so every look-up
    # read all of it from the file again: 640 us in place of 10.
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_metadata_block_size(_BLOCK_BYTES)
    table.set_pin_top_level_index_and_filter(True)
    options = Options(raw_mode=True)  # bytes only: the default mode would unpickle values
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(_FAMILY_BYTES_MAX)
    options.set_max_write_buffer_number(2)
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES_MAX)
    options.set_max_total_wal_size(WAL_BYTES_MAX)
    options.set_max_open_files(-1 if read_only else FILES_OPEN_MAX)
    options.set_max_background_jobs(2)
    # A kept checkpoint holds on to every file that a compaction replaces, so compactions are few:
    # with RocksDB's default of 4, 50 kept ones over which a tenth of the keys changed took half of
    # the state's own space, now a twentieth. A look-up asks more Bloom filters, 0.3 us each.
    options.set_level_zero_file_num_compaction_trigger(_COMPACTED_AT_FILES)
    options.set_level_zero_slowdown_writes_trigger(2 * _COMPACTED_AT_FILES)
    options.set_level_zero_stop_writes_trigger(3 * _COMPACTED_AT_FILES)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_recycle_log_file_num(0)  # refuse_endless_logs counts on it
    options.set_paranoid_checks(True)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options
