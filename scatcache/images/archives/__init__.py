"""Archives: fetched, checked, unpacked, indexed."""
