"""Training from a store: open_cache, Cache, dataset and loader. torch is imported on first use, never on opening."""
