"""Coefficients to Zarr v3 and back: layout, manifest, receipts, shard files, reader. docs/format.md is the contract."""
