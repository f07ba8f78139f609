"""Every file of a store, read by the readers of others."""

import warnings

import numpy as np
import pytest

import scatcache
from scatcache.spec import Pixels
from scatcache.store.format.row_arrays import ROW_ARRAYS
from scatcache.store.reader import open_split
from tests.store.golden import make_by_hand
from tests.store.stores import N_IMAGES, UNREADABLE, flip, make_partial


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def our_values(store):
    return open_split(store).read(np.arange(N_IMAGES))


def test_zarr_reads_every_coefficient_as_we_do(encoded):
    zarr = pytest.importorskip("zarr")
    array = zarr.open_group(encoded, mode="r")["all/coefficients"]
    theirs, ours = array[:], our_values(encoded)
    assert theirs.dtype == ours.dtype and theirs.tobytes() == ours.tobytes()
    is_filled = np.isnan(theirs) if theirs.dtype.kind == "f" else theirs == 0
    assert is_filled.all(axis=(1, 2, 3)).sum() == len(UNREADABLE)


def test_tensorstore_reads_every_coefficient_as_we_do(encoded):
    tensorstore = pytest.importorskip("tensorstore")
    path = str(encoded / "all/coefficients")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    theirs = tensorstore.open(spec, read=True).result().read().result()
    ours = our_values(encoded)
    assert theirs.dtype == ours.dtype and np.asarray(theirs).tobytes() == ours.tobytes()


@pytest.mark.parametrize("name", ["label", "source_index", "view", "file_bytes", "order", "theta1", "colour", "status"])
def test_tensorstore_reads_the_small_arrays(sound, name):
    tensorstore, zarr = pytest.importorskip("tensorstore"), pytest.importorskip("zarr")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(sound / "all" / name)}}
    theirs = np.asarray(tensorstore.open(spec, read=True).result().read().result())
    np.testing.assert_array_equal(theirs, zarr.open_group(sound, mode="r")[f"all/{name}"][:])


def test_zarr_reads_the_small_arrays_as_we_do(encoded):
    zarr = pytest.importorskip("zarr")
    group, rows = zarr.open_group(encoded, mode="r")["all"], open_split(encoded).records.rows
    for name in ("key", "label", "source_index", "view", "file_bytes"):
        assert group[name][:].tolist() == getattr(rows, name).tolist()
    unreadable = {int(row) for row in np.flatnonzero(group["status"][:] == 2)}
    assert unreadable == {int(np.flatnonzero(rows.source_index == index)[0]) for index in unreadable_indices(encoded)}
    assert sorted(set(group["status"][:].tolist())) == [1, 2]


def unreadable_indices(store):
    cache = scatcache.open_cache(store)
    return sorted(set(range(len(cache))) - set(cache.readable.tolist()))


@pytest.mark.parametrize("how", ["root", "path", "group", "datatree"])
def test_xarray_opens_it_without_a_warning(encoded, how):
    xarray = pytest.importorskip("xarray")
    if how == "root":
        assert dict(xarray.open_zarr(encoded).sizes) == {}
        return
    if how == "path":
        dataset = xarray.open_zarr(encoded / "all")
    elif how == "group":
        dataset = xarray.open_zarr(encoded, group="all")
    else:
        dataset = xarray.open_datatree(encoded, engine="zarr")["all"].to_dataset()
    names = {"order", "j1", "theta1", "j2", "theta2", "colour", "status", *ROW_ARRAYS}
    names |= {"step"} if "quantised" in encoded.name else set()
    assert set(dataset.coords) == names and set(dataset.data_vars) == {"coefficients"}
    assert dataset.coefficients.dims == ("image", "channel", "y", "x")
    np.testing.assert_array_equal(dataset.coefficients.values, our_values(encoded))


def test_xarray_selects_channels_by_their_order(sound):
    xarray = pytest.importorskip("xarray")
    dataset = xarray.open_zarr(sound, group="all").set_xindex("order")
    spec = scatcache.open_cache(sound).spec
    first = dataset.coefficients.sel(order=1)
    assert first.sizes["channel"] == 3 * spec.J * spec.L
    assert set(first.j2.values) == {-1} and -1 not in first.j1.values
    np.testing.assert_array_equal(first.values, our_values(sound)[:, dataset.order.values == 1])


def test_zarr_lists_arrays_and_no_receipt(sound):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(sound, mode="r")
    assert [name for name, _ in root.members()] == ["all"]
    assert len(dict(root["all"].members())) == 13
    assert dict(root.attrs)["scatcache"]["format"] == 2


def test_consolidated_metadata_is_that_of_the_members(sound):
    zarr = pytest.importorskip("zarr")
    for use in (True, False):
        group = zarr.open_group(sound, mode="r", use_consolidated=use)
        found = {name: member.metadata for name, member in group.members(max_depth=None)}
        if use:
            consolidated = found
    assert found.keys() == consolidated.keys() and len(found) == 14
    for name, metadata in found.items():
        if name != "all":
            assert metadata.to_dict() == consolidated[name].to_dict()


@pytest.mark.parametrize(("colours", "dtype"), [(1, np.int8), (127, np.int8), (128, np.int16), (1000, np.int16)])
def test_colours_are_counted_in_a_type_that_holds_them(tmp_path, colours, dtype):
    zarr, tensorstore = pytest.importorskip("zarr"), pytest.importorskip("tensorstore")
    store = tmp_path / "a.zarr"
    make_by_hand(store, pixels=Pixels("native", colours, "uint16", 65535.0), encoding="float32")
    array, order = (zarr.open_group(store, mode="r")[f"all/{name}"] for name in ("colour", "order"))
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / "all/colour")}}
    theirs = np.asarray(tensorstore.open(spec, read=True).result().read().result())
    assert array.dtype == theirs.dtype == dtype and order.dtype == np.int8
    assert array[:].tolist() == theirs.tolist() == np.repeat(np.arange(colours), 3).tolist()
    assert scatcache.open_cache(store).to_xarray().colour.dtype == dtype
    assert scatcache.verify(store).ok
    flip(store / "all/colour/c.0", 3)
    assert [failure.path for failure in scatcache.verify(store).failures] == ["all/colour/c.0"]


def test_unfinished_split_reads_as_absent_elsewhere(store):
    xarray = pytest.importorskip("xarray")
    make_partial(store, missing=(1,))
    dataset = xarray.open_zarr(store, group="all")
    assert not dataset.status.values.any()
    assert np.isnan(dataset.coefficients.values[12:24]).all()


def test_nothing_in_a_store_tells_of_time_host_or_place(images, encoded):
    import os
    import socket

    secrets = [str(images.parent), os.path.expanduser("~"), socket.gethostname(), str(os.getpid()) + " "]
    for path in encoded.rglob("*.json"):
        text = path.read_text()
        assert not any(secret in text for secret in secrets if len(secret) > 3), path
        assert "time" not in text
