import tracemalloc

import h5py
import numpy as np
import pytest
import zarr

import scatcache
from scatcache.errors import SettingsDiffer, SourceError
from scatcache.images.catalogue import open_source
from tests.images.kinds.arrays.array_places import LABELS, TARGETS, N, make_images, write_place
from tests.scattering.oracle import kymatio_coefficients

# 20 GB of float32.
MANY, SIDE = 20_000, 512
SETTINGS = {"J": 2, "L": 4, "max_order": 1, "shard_images": 6}


def make_sparse(path, name):
    """An array of 20 GB that takes no disk."""
    shape = (MANY, SIDE, SIDE)
    if name == "x.npy":
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.truncate(file.tell() + 4 * MANY * SIDE * SIDE)
    elif name.endswith(".h5"):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", shape, "f4", chunks=(16, SIDE, SIDE) if name == "chunked.h5" else None)
    else:
        zarr.create_array(path, shape=shape, dtype="f4", chunks=(MANY if name == "one.zarr" else 16, SIDE, SIDE))


@pytest.mark.parametrize("name", ["x.npy", "plain.h5", "chunked.h5", "x.zarr", "one.zarr"])
def test_twenty_gigabytes_are_opened_listed_and_read_in_little_memory(tmp_path, name):
    make_sparse(tmp_path / name, name)
    tracemalloc.start()
    try:
        source = open_source(tmp_path / name)
        part = source.splits["all"]
        assert len(part.listing.rows) == MANY and part.listing.rows[MANY - 1].key == "19999"
        for i in (0, MANY - 1):
            assert part.read(i).shape == (SIDE, SIDE, 1)
        if part.block(16) is not None:
            assert part.block(16) == 1 and len(part.read_block([16, 31])) == 2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60 * 2**20
    if name == "one.zarr":
        assert part.block(0) is None and "stored in chunks of 20000 images" in source.warnings[0]
    else:
        assert source.warnings == ()


def test_every_format_ends_in_kymatios_coefficients(tmp_path):
    images = make_images("NCHW", "uint16")
    spec = scatcache.ScatteringSpec(J=2, L=4, max_order=1, colours=3)
    expected = kymatio_coefficients(images / 65535, spec).reshape(N, *spec.output_shape(16, 20))
    for name in ("plain.npy", "chunked.hdf5", "sharded.zarr"):
        scatcache.extract(write_place(tmp_path, name, images), out=tmp_path / f"{name}-out", **SETTINGS)
        found = scatcache.open_cache(tmp_path / f"{name}-out").coefficients(range(N))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_store_goes_on_with_the_labels_and_targets_it_began_with(tmp_path):
    place, out = write_place(tmp_path, "stored.npz", make_images()), tmp_path / "out.zarr"
    np.save(tmp_path / "y.npy", LABELS)
    scatcache.extract(place, out=out, labels=str(tmp_path / "y.npy"), targets="targets", **SETTINGS)
    cache = scatcache.open_cache(out)
    assert cache.labels.tolist() == LABELS.tolist() and cache.classes == ("0", "1", "2")
    np.testing.assert_array_equal(cache.targets, TARGETS.astype("f4"))
    assert scatcache.resume(out).state == scatcache.extract(place, out=out).state == "complete"
    np.save(tmp_path / "y.npy", LABELS[::-1])
    with pytest.raises(SettingsDiffer):
        scatcache.extract(place, out=out)


def test_a_source_that_is_refused_leaves_nothing_behind(tmp_path):
    place = write_place(tmp_path, "deflated.npz", make_images())
    with pytest.raises(SourceError, match=r"there is no .npy or .csv file"):
        scatcache.extract(place, out=tmp_path / "out.zarr", labels="nix", **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["deflated.npz"]
