import os
import zipfile

import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.contents import Contents
from tests.images.kinds.arrays.array_places import LABELS, make_images, write_place


def test_a_compressed_array_is_inflated_once_and_others_are_not(tmp_path):
    images, job = make_images(), tmp_path / "job"
    place = write_place(tmp_path, "deflated.npz", images)
    open_source(place, work_dir=job)
    (inflated,) = job.iterdir()
    before = inflated.stat()
    part = open_source(place, work_dir=job).splits["all"]
    assert [*job.iterdir()] == [inflated] and inflated.stat().st_ino == before.st_ino
    np.testing.assert_array_equal(np.load(inflated), images)
    np.testing.assert_array_equal(part.read(3)[..., 0], images[3])
    # Other content under the same name is another file.
    place.unlink()
    part = open_source(write_place(tmp_path, "deflated.npz", images + 1), work_dir=job).splits["all"]
    np.testing.assert_array_equal(part.read(3)[..., 0], images[3] + 1)


def test_without_a_folder_to_keep_it_in_a_compressed_array_is_read_too(tmp_path):
    images = make_images()
    part = open_source(write_place(tmp_path, "deflated.npz", images)).splits["all"]
    np.testing.assert_array_equal(part.read(3)[..., 0], images[3])
    assert os.listdir(tmp_path) == ["deflated.npz"]


def test_a_flipped_byte_in_a_compressed_array_is_found(tmp_path):
    place = write_place(tmp_path, "deflated.npz", make_images())
    data = bytearray(place.read_bytes())
    data[3000] ^= 255
    place.write_bytes(data)
    with pytest.raises(SourceError, match=r"damaged or no .npz"):
        open_source(place, work_dir=tmp_path / "job")
    assert not [*(tmp_path / "job").iterdir()]


def test_objects_beside_the_images_do_no_harm(tmp_path):
    names = np.array(["a", None], object)
    np.savez(tmp_path / "x.npz", images=make_images(), names=names, y=LABELS)
    assert open_source(tmp_path / "x.npz", contents=Contents(labels="y")).classes == ("0", "1", "2")
    with pytest.raises(SourceError, match=r"expected \(12,\)"):
        open_source(tmp_path / "x.npz", contents=Contents(labels="names"))


def test_a_size_that_is_not_the_headers_is_refused(tmp_path):
    place = write_place(tmp_path, "stored.npz", make_images())
    with zipfile.ZipFile(place) as archive:
        data = archive.read("images.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", data[:-4])
    with pytest.raises(SourceError, match="is 15484 bytes, its header says 15488"):
        open_source(tmp_path / "x.npz")


def test_what_lies_before_the_archive_shifts_nothing(tmp_path):
    images = make_images()
    place = write_place(tmp_path, "stored.npz", images)
    place.write_bytes(b"#!/bin/sh\n" + place.read_bytes())
    np.testing.assert_array_equal(open_source(place).splits["all"].read(5)[..., 0], images[5])
