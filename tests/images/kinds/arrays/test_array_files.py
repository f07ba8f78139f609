"""Every format gives the images, labels and targets that its own library wrote, and refuses what is none."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import zarr

from scatcache.errors import SourceError, UsageError
from scatcache.images.catalogue import list_contents, open_source, source_exists
from scatcache.images.contents import Contents
from scatcache.images.forms import ImageForm
from scatcache.spec import Pixels
from scatcache.testing import check_source
from tests.images.kinds.arrays.array_places import (
    BANDS,
    HEIGHT,
    LABELS,
    SHAPES,
    TARGETS,
    WIDTH,
    WRITERS,
    N,
    make_images,
    write_hdf5,
    write_place,
)

NAMED = [name for name in WRITERS if not name.endswith((".npy", ".fits")) and name != "alone.zarr"]


def as_last(images, axes):
    """The images as (n, height, width, bands)."""
    return {"NHW": lambda x: x[..., None], "NHWC": lambda x: x, "NCHW": lambda x: x.transpose(0, 2, 3, 1)}[axes](images)


def assert_images(part, expected):
    """Alone, by block, from threads and in another process's copy: all the same, and nobody's but the caller's."""
    copy = pickle.loads(pickle.dumps(part))
    assert copy.listing == part.listing
    with ThreadPoolExecutor(4) as pool:
        for found in (map(part.read, range(len(expected))), pool.map(copy.read, range(len(expected)))):
            for image, wanted in zip(found, expected, strict=True):
                assert image.dtype == wanted.dtype.newbyteorder("=") and image.dtype.isnative
                np.testing.assert_array_equal(image, wanted)
                assert image.flags.owndata or image.base.flags.owndata
                image[:] = 0
    blocks: dict[int, list[int]] = {}
    for i in range(len(expected)):
        if (block := part.block(i)) is not None:
            blocks.setdefault(block, []).insert(0, i)
    for indices in blocks.values():
        for i, image in zip(indices, part.read_block(indices), strict=True):
            np.testing.assert_array_equal(image, expected[i])


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("axes", "dtype"), [("NHW", ">f4"), ("NHWC", "uint8"), ("NCHW", "uint16"), ("NHW", "float64")])
def test_every_format_gives_the_images_that_were_written(tmp_path, name, axes, dtype):
    if name == "packed.fits" and "f" in dtype:
        dtype = "int32"  # packed floats are rounded by FITS itself
    images = make_images(axes, dtype)
    place = write_place(tmp_path, name, images)
    source = open_source(place, work_dir=tmp_path / "job")
    part = source.splits["all"]
    samples = {"uint8": "uint8", "uint16": "uint16"}.get(dtype, "float32")
    n_bands = 1 if axes == "NHW" else BANDS
    assert source.name == "array" and source.root == place and source.options["axes"] == axes
    assert source.pixels == Pixels("native", n_bands, samples, {"uint8": 255.0, "uint16": 65535.0}.get(samples, 1.0))
    assert part.image_form == ImageForm(HEIGHT, WIDTH, n_bands, samples)
    rows = part.listing.rows
    assert (len(rows), rows[3]) == (N, ("00003", -1, images[0].nbytes))
    assert part.listing.facts.startswith(f"{np.dtype(dtype).name} {SHAPES[axes]} ")
    assert_images(part, as_last(images, axes))
    with pytest.raises(IndexError):
        part.read(N)


def test_packed_floats_are_what_astropy_unpacks(tmp_path):
    from astropy.io import fits

    place = write_place(tmp_path, "packed.fits", make_images())
    with fits.open(place) as hdus:
        expected = np.array(hdus["IMAGES"].data)
    assert_images(open_source(place).splits["all"], as_last(expected, "NHW"))


@pytest.mark.parametrize("name", ["plain.npy", "stored.npz", "deflated.npz", "plain.h5", "plain.fits"])
def test_plain_samples_lie_where_locate_says(tmp_path, name):
    images = make_images("NHWC", "int16")
    part = open_source(write_place(tmp_path, name, images), work_dir=tmp_path / "job").splits["all"]
    for i in (0, 5, N - 1):
        file, offset, n_bytes = part.locate(i)
        stored = np.fromfile(file, part.array.dtype, n_bytes // 2, offset=offset)
        np.testing.assert_array_equal(stored.reshape(images[i].shape), images[i])
    assert part.block(0) is None


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_keeps_what_the_protocol_promises(tmp_path, name):
    images = make_images("NHWC", "uint8")
    check_source(open_source(write_place(tmp_path, name, images), work_dir=tmp_path / "job"), n_images=4)


@pytest.mark.parametrize("name", NAMED)
def test_labels_and_targets_come_from_names_in_the_file_and_from_files(tmp_path, name):
    place = write_place(tmp_path, name, make_images())
    label_name = "labels" if name.endswith(".npz") else "more/labels"
    named = open_source(place, contents=Contents(array="/images", labels=label_name, targets="targets"))
    assert named.options == {"array": "images", "axes": "NHW", "labels": label_name, "targets": "targets"}
    assert named.memory == {}
    np.save(tmp_path / "y.npy", LABELS.astype("uint8"))
    np.savetxt(tmp_path / "t.csv", TARGETS, delimiter=",", header="one,two", comments="")
    files = open_source(place, contents=Contents(labels=str(tmp_path / "y.npy"), targets=tmp_path / "t.csv"))
    assert files.options == {"array": "images", "axes": "NHW"}
    assert files.memory == {"labels": str(tmp_path / "y.npy"), "targets": str(tmp_path / "t.csv")}
    for source in (named, files):
        listing = source.splits["all"].listing
        assert source.classes == ("0", "1", "2") and listing.rows.labels.tolist() == LABELS.tolist()
        np.testing.assert_array_equal(listing.targets, TARGETS.astype("float32"))


def test_names_that_were_kept_open_the_same_again(tmp_path):
    place = tmp_path / "two.npz"
    np.savez(place, a=make_images("NHWC", "uint8"), b=make_images("NCHW", "uint8"), y=LABELS)
    first = open_source(place, contents=Contents(array="b", labels="y"))
    again = open_source(place, contents=Contents().or_else(first.memory, first.options))
    assert again.options == first.options and again.splits["all"].listing.hash == first.splits["all"].listing.hash


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (Contents(array="nix"), r"no array 'nix': it holds images \(float32 \(12, 16, 20\)\), labels \(int64 "),
        (Contents(array="labels"), r"labels in .* is of shape \(12,\): expected \(images, height, width\)"),
        (Contents(axes="NHWC"), r"has 3 axes .* --axes NHWC names 4"),
        (Contents(labels="nix"), r"no .npy or .csv file of that path, and .* only images .*: check --labels"),
        (Contents(labels="images"), r"expected \(12,\), one for each image"),
        (Contents(labels="targets"), r"float64: expected integers; numbers .* go by --targets"),
        (Contents(targets="images"), r"expected \(12,\) or \(12, k\), one for each image"),
    ],
)
def test_what_is_not_in_the_file_is_refused_with_what_is(tmp_path, contents, words):
    with pytest.raises(SourceError, match=words) as refused:
        open_source(write_place(tmp_path, "stored.npz", make_images()), contents=contents)
    assert "\n" not in str(refused.value)


def test_several_arrays_are_listed_and_none_is_guessed(tmp_path):
    np.savez(tmp_path / "two.npz", train=make_images(), test=make_images("NHWC", "uint8"), y=LABELS)
    with pytest.raises(SourceError, match=r"train \(float32 \(12, 16, 20\)\), test \(uint8 .*with --array NAME"):
        open_source(tmp_path / "two.npz")


def test_axes_that_no_array_has_are_the_command_lines_fault(tmp_path):
    with pytest.raises(UsageError, match="expected one of NHW, NHWC, NCHW"):
        open_source(write_place(tmp_path, "plain.npy", make_images()), contents=Contents(axes="HWC"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_of_arrays_is_known_by_what_lies_there(tmp_path, name):
    assert not source_exists(tmp_path / name)
    place = write_place(tmp_path, name, make_images())
    assert source_exists(place) and list_contents(place) == ("array", "axes", "labels", "targets")


@pytest.mark.parametrize("name", ["plain.npy", "stored.npz", "plain.h5", "chunked.hdf5", "packed.fits"])
def test_a_file_that_changed_since_it_was_opened_is_not_read(tmp_path, name):
    place = write_place(tmp_path, name, make_images("NHW", "int16"))
    part = open_source(place).splits["all"]
    place.write_bytes(place.read_bytes() + b"\0")
    with pytest.raises(SourceError, match="has changed since it was opened"):
        part.read(0)


@pytest.mark.parametrize("name", ["plain.npy", "stored.npz", "deflated.npz", "plain.h5", "chunked.hdf5", "packed.fits"])
@pytest.mark.parametrize("left", [0, 0.5, 0.9])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, name, left):
    place = write_place(tmp_path, name, make_images())
    place.write_bytes(place.read_bytes()[: int(place.stat().st_size * left)])
    with pytest.raises(SourceError, match="truncated") as refused:
        open_source(place, work_dir=tmp_path / "job")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("job/*"))


@pytest.mark.parametrize("name", ["text.npy", "text.npz", "text.h5", "text.fits"])
def test_text_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_text("these are no images\n" * 300)
    with pytest.raises(SourceError) as refused:
        open_source(tmp_path / name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.h5", "x.zarr"])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(5, "f4"), "of shape (5,): expected (images, height, width)"),
        (np.zeros((5, 6), "f4"), "of shape (5, 6): expected (images, height, width)"),
        (np.zeros((2, 3, 4, 5, 6), "f4"), "expected (images, height, width)"),
        (np.zeros((0, 8, 8), "f4"), "holds no image"),
        (np.zeros((5, 0, 8), "f4"), "an image of 0 bytes"),
        (np.zeros((5, 8, 8), "c8"), "holds complex64: expected integers or floats"),
        (np.zeros((5, 8, 8), "?"), "holds bool: expected integers or floats"),
        (np.zeros((5, 8, 8, 8), "u1"), "does not say where the bands are: give --axes NHWC"),
        (np.zeros((5, 8, 8), [("a", "u1")]), "holds records of 1 fields"),
    ],
)
def test_what_is_no_array_of_images_is_refused(tmp_path, name, values, words):
    place = tmp_path / name
    if name == "x.npy":
        np.save(place, values)
    elif name == "x.npz":
        np.savez(place, x=values)
    elif name == "x.h5":
        with h5py.File(place, "w") as file:
            file["x"] = values
    else:
        zarr.create_array(place, data=values, zarr_format=2)
    with pytest.raises(SourceError) as refused:
        open_source(place)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_dtype_shape_bytes_and_targets_enter_the_hash(tmp_path):
    images = make_images("NHW", "int16")
    np.save(tmp_path / "x.npy", images)
    hashes = {open_source(tmp_path / "x.npy").splits["all"].listing.hash}
    for changed in (images.astype("uint16"), images.reshape(12, 20, 16), images.astype("float32")):
        np.save(tmp_path / "x.npy", changed)
        hashes.add(open_source(tmp_path / "x.npy").splits["all"].listing.hash)
    np.save(tmp_path / "x.npy", images)
    for targets in (TARGETS, -TARGETS, TARGETS[:, :1]):
        np.save(tmp_path / "t.npy", targets)
        source = open_source(tmp_path / "x.npy", contents=Contents(targets=str(tmp_path / "t.npy")))
        hashes.add(source.splits["all"].listing.hash)
    assert len(hashes) == 7


def test_a_label_array_behind_a_link_is_found(tmp_path):
    write_hdf5(tmp_path / "x.h5", make_images())
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["y"] = h5py.SoftLink("/more/labels")
    assert open_source(tmp_path / "x.h5", contents=Contents(labels="y")).classes == ("0", "1", "2")


@pytest.mark.parametrize("name", ["x.h5", "x.npz", "x.zarr"])
def test_odd_names_of_arrays_leave_messages_on_one_line(tmp_path, name):
    images = {"a\nb": make_images(), "c\x1b[2J": make_images()}
    if name == "x.npz":
        np.savez(tmp_path / name, **images)
    else:
        group = h5py.File(tmp_path / name, "w") if name == "x.h5" else zarr.create_group(tmp_path / name)
        for key, values in images.items():
            group.create_dataset(key, data=values) if name == "x.h5" else group.create_array(key, data=values)
        if name == "x.h5":
            group.close()
    for contents in (Contents(), Contents(array="a\nb", axes="NHWC"), Contents(array="a\nb", labels="nix")):
        with pytest.raises(SourceError) as refused:
            open_source(tmp_path / name, contents=contents)
        assert str(refused.value).isprintable() and r"a\u000ab" in str(refused.value)
