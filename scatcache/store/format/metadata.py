"""The zarr.json documents of a store, as Zarr's core specification v3 has them."""

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import STEP, Manifest
from scatcache.store.format.row_arrays import (
    ALL_ROW_ARRAYS,
    TARGET,
    array_shape,
    describe_bytes,
    find_chunk_rows,
    find_fill,
    list_arrays,
    row_codecs,
)

_OF_PATHS, _OF_ROWS = "order j1 theta1 j2 theta2", "label key source_index view file_bytes status"
# An array may not bear the name of one of its own dimensions in every reader.
TARGET_DIMENSIONS = ("image", "k")
# Of averaged angles, of quantised coefficients and of rows with targets.
_SOMETIMES = ("dtheta", STEP, TARGET)
ALL_COORDINATES = f"{_OF_PATHS} dtheta colour {STEP} {_OF_ROWS} {TARGET}"
# The attribute that holds what is ours: of the root the settings, of a split its record.
RECORD = "scatcache"
DIMENSIONS = ("image", "channel", "y", "x")


def describe_array(
    shape: tuple[int, ...],
    chunk_shape: tuple[int, ...],
    *,
    data_type: str,
    fill_value: Any,
    codecs: list[dict[str, Any]],
    dimensions: tuple[str, ...],
) -> dict[str, Any]:
    """The zarr.json of an array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill_value,
        "codecs": codecs,
        "attributes": {},
        "dimension_names": list(dimensions),
        "storage_transformers": [],
    }


def describe_coefficients(manifest: Manifest, layout: SplitLayout) -> dict[str, Any]:
    """The zarr.json of a split's coefficients: (image, channel, y, x), one shard a file."""
    encoding = manifest.stored_as
    output_shape = manifest.spec.output_shape(*layout.image_shape)
    sharding = {
        "chunk_shape": [layout.chunk_images, *output_shape],
        "codecs": encoding.codecs(),
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    }
    return describe_array(
        (layout.n_positions, *output_shape),
        (layout.shard_images, *output_shape),
        data_type=encoding.dtype,
        fill_value=encoding.fill,
        codecs=[{"name": "sharding_indexed", "configuration": sharding}],
        dimensions=DIMENSIONS,
    )


def describe_split(
    manifest: Manifest, layout: SplitLayout, *, channels: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Every zarr.json of one split by its folder relative to the split's; "" is the split's group, with its record.

    channels: (n_channels,) coordinates by name.
    """
    documents = {"coefficients": describe_coefficients(manifest, layout)}
    for name in list_arrays(layout, finished=True):
        shape, fill = array_shape(layout, name), find_fill(name)
        documents[name] = describe_array(
            shape,
            (find_chunk_rows(*shape[1:]), *shape[1:]),
            data_type=ALL_ROW_ARRAYS[name][1],
            fill_value="NaN" if fill != fill else fill,
            codecs=row_codecs(name),
            dimensions=TARGET_DIMENSIONS[: len(shape)],
        )
    for name, values in channels.items():
        documents[name] = describe_array(
            (manifest.spec.n_channels,),
            (manifest.spec.n_channels,),
            data_type=values.dtype.name,
            fill_value=values.dtype.type(0).item(),
            codecs=[describe_bytes(values.dtype), {"name": "crc32c"}],
            dimensions=("channel",),
        )
    attributes = {"coordinates": name_coordinates(documents), RECORD: layout.to_dict()}
    return {"": describe_group(attributes, documents), **documents}


def name_coordinates(present: Container[str]) -> str:
    """A split's attribute `coordinates`. present: the names of its arrays."""
    return " ".join(name for name in ALL_COORDINATES.split() if name not in _SOMETIMES or name in present)


def is_own(coordinates: object) -> bool:
    """Whether an attribute `coordinates` shows that a group is a split of ours."""
    return isinstance(coordinates, str) and coordinates == name_coordinates(coordinates.split())


def describe_group(attributes: dict[str, Any], members: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The zarr.json of a group that carries its members' documents too; without them xarray warns when it opens it."""
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": members},
    }


def describe_root(manifest: Manifest, splits: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """The root's zarr.json: the manifest, and the consolidated metadata of the splits present.

    splits: for each split present, what describe_split returns. to_json sorts the members by name, so that the order
    in which splits were added never shows.
    """
    members = {}
    for split, documents in splits.items():
        group = {name: value for name, value in documents[""].items() if name != "consolidated_metadata"}
        members[split] = group
        members |= {f"{split}/{name}": document for name, document in documents.items() if name}
    return describe_group({RECORD: manifest.to_dict()}, members)


def channel_chunk(values: np.ndarray) -> bytes:
    """The one raw chunk of a (n_channels,) coordinate, before its crc32c."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
