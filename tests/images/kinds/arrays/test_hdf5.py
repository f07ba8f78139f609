import subprocess
import sys

import h5py
import numpy as np
import pytest

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.catalogue import open_source
from scatcache.images.contents import Contents
from tests.images.kinds.arrays.array_places import HEIGHT, WIDTH, N, make_images, write_hdf5, write_place


@pytest.mark.parametrize("userblock", [0, 512])
def test_a_dataset_that_was_never_written_holds_the_fill_value(tmp_path, userblock):
    images = make_images()
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=userblock) as file:
        file.create_dataset("empty", (N, HEIGHT, WIDTH), "f4", fillvalue=7)
        file["full"] = images
    empty = open_source(tmp_path / "x.h5", contents=Contents(array="empty")).splits["all"]
    full = open_source(tmp_path / "x.h5", contents=Contents(array="full")).splits["all"]
    assert (empty.read(3) == 7).all() and empty.locate(3) is None
    np.testing.assert_array_equal(full.read(3)[..., 0], images[3])
    assert full.locate(3) is not None


def test_samples_that_lie_otherwise_than_numpys_are_read_by_hdf5(tmp_path):
    values = np.arange(N * HEIGHT * WIDTH).reshape(N, HEIGHT, WIDTH) % 1000
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    kind.set_offset(4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(file.id, b"x", kind, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values.astype("i4"))
    part = open_source(tmp_path / "x.h5").splits["all"]
    assert part.locate(0) is None
    np.testing.assert_array_equal(part.read(N - 1)[..., 0], values[N - 1])
    kind.set_size(3)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        h5py.h5d.create(file.id, b"y", kind, h5py.h5s.create_simple(values.shape))
    with pytest.raises(SourceError, match="holds raw bytes: expected integers or floats"):
        open_source(tmp_path / "y.h5")


def test_a_damaged_chunk_is_unreadable_images_and_others_are_read(tmp_path):
    images = make_images()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", data=images, chunks=(5, HEIGHT, WIDTH), fletcher32=True)
        offset = dataset.id.get_chunk_info(1).byte_offset
    data = bytearray((tmp_path / "x.h5").read_bytes())
    data[offset + 9] ^= 255
    (tmp_path / "x.h5").write_bytes(data)
    part = open_source(tmp_path / "x.h5").splits["all"]
    np.testing.assert_array_equal(part.read_block([0, 4])[1][..., 0], images[4])
    with pytest.raises(UnreadableImage, match=r"its samples in x do not decode \(OSError\)"):
        part.read(5)
    assert all(isinstance(found, UnreadableImage) for found in part.read_block([5, 9]))


def test_a_file_that_is_open_for_writing_is_refused_and_free_once_its_source_is_gone(tmp_path):
    place = write_place(tmp_path, "chunked.hdf5", make_images())
    write = f"import h5py, sys; f = h5py.File({str(place)!r}, 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", write], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(SourceError, match="is open for writing elsewhere: close it there"):
            open_source(place)
        writer.communicate("")
    part = open_source(place).splits["all"]
    part.read(0)
    del part
    h5py.File(place, "r+").close()


def test_a_dataset_that_refers_to_other_files_is_refused(tmp_path):
    write_hdf5(tmp_path / "a.h5", make_images())
    layout = h5py.VirtualLayout((N, HEIGHT, WIDTH), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "a.h5", "images", (N, HEIGHT, WIDTH))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("outside", (N, HEIGHT, WIDTH), "f4", external=[("raw", 0, 10**6)])
        file["linked"] = h5py.ExternalLink("a.h5", "/images")
        file["lost"] = h5py.ExternalLink("gone.h5", "/images")
    for name in ("virtual", "outside", "linked"):
        with pytest.raises(SourceError, match="only refers to other files"):
            open_source(tmp_path / "b.h5", contents=Contents(array=name))
    with pytest.raises(SourceError, match=r"no array 'lost': it holds outside .*, virtual "):
        open_source(tmp_path / "b.h5", contents=Contents(array="lost"))


def test_a_filter_that_is_not_there_is_named(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((5, HEIGHT, WIDTH))
        plist.set_filter(32999, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((N, HEIGHT, WIDTH))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, plist)
    with pytest.raises(SourceError, match=r"needs the HDF5 filter .*: pip install hdf5plugin"):
        open_source(tmp_path / "x.h5")


@pytest.mark.parametrize(("name", "module", "extra"), [("x.h5", "h5py", "hdf5"), ("x.fits", "astropy.io", "fits")])
def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, name, module, extra):
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"pip install 'scatcache\[{extra}\]'"):
        open_source(tmp_path / name)
