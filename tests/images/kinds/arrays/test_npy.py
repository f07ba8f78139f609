import io
import pickle

import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.contents import Contents
from tests.images.kinds.arrays.array_places import make_images


def write_header(path, shape, dtype="<f4", n_bytes=1000):
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + n_bytes)


@pytest.mark.parametrize("shape", [(10**8, 5000, 5000), (100, 8, 8), (10**20, 8, 8)])
def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path, shape):
    write_header(tmp_path / "x.npy", shape)
    with pytest.raises(SourceError, match=r"is truncated: float32 .* needs .* bytes, the file has 1128"):
        open_source(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "header",
    [
        b"\x93NUMPY\x01\x00v\x00" + b"(" * 117 + b"\n",
        b"\x93NUMPY\x07\x00v\x00" + b" " * 117 + b"\n",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 8, 8)}".ljust(117) + b"\n",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1.5, 8)}".ljust(117) + b"\n",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': 'nix', 'fortran_order': False, 'shape': (3, 8)}".ljust(117) + b"\n",
    ],
)
def test_a_header_that_numpy_would_not_write_is_refused(tmp_path, header):
    (tmp_path / "x.npy").write_bytes(header + bytes(1000))
    with pytest.raises(SourceError, match="write it again") as refused:
        open_source(tmp_path / "x.npy")
    assert "\n" not in str(refused.value)


class Bomb:
    """Raises where it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_objects_are_never_unpickled(tmp_path):
    values = np.empty((2, 8, 8), object)
    values[:] = [[[Bomb()]]]
    np.save(tmp_path / "x.npy", values, allow_pickle=True)
    with pytest.raises(SystemExit):
        np.load(tmp_path / "x.npy", allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=values)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(SourceError, match="Python objects, which are never unpickled"):
            open_source(tmp_path / name)
    np.save(tmp_path / "images.npy", make_images())
    np.save(tmp_path / "y.npy", np.full(12, Bomb()), allow_pickle=True)
    with pytest.raises(SourceError, match="Python objects, which are never unpickled"):
        open_source(tmp_path / "images.npy", contents=Contents(labels=str(tmp_path / "y.npy")))


def test_a_long_header_and_what_follows_the_samples_change_nothing(tmp_path):
    images, file = make_images(), io.BytesIO()
    np.lib.format.write_array(file, images, version=(2, 0))
    (tmp_path / "x.npy").write_bytes(file.getvalue() + b"more")
    part = open_source(tmp_path / "x.npy").splits["all"]
    np.testing.assert_array_equal(part.read(11)[..., 0], images[11])
    assert len(pickle.dumps(part)) < 2000
