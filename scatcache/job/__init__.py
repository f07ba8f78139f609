"""Extraction: a pure plan, one task per shard, Dask to run the tasks, receipts to resume from."""
