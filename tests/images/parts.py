"""Reading a source by its keys."""

from typing import Any

from scatcache.images.image_source import ImageSource


def find_row(source: ImageSource, split: str, key: str) -> int:
    """The index of a key in a split's listing."""
    found = source.find(split).listing.rows.find(key)
    assert found is not None, f"{key} is not listed"
    return found


def read_key(source: ImageSource, split: str, key: str) -> Any:
    """What the source gives for one key."""
    return source.find(split).read(find_row(source, split, key))
