import h5py
import numpy as np
import pytest
import torch
import zarr

from scatcache.errors import SourceError, UsageError
from scatcache.images.catalogue import open_object
from scatcache.images.contents import Contents
from scatcache.spec import Pixels
from scatcache.testing import check_source
from tests.images.kinds.arrays.array_places import LABELS, TARGETS, N, make_images, write_place


def hold(kind, images, folder):
    if kind == "tensor":
        return torch.tensor(images)
    if kind == "grad":
        return torch.tensor(images.astype("f4"), requires_grad=True)
    if kind == "memmap":
        np.save(folder / "m.npy", images)
        return np.load(folder / "m.npy", mmap_mode="r")
    if kind == "h5py":
        return h5py.File(write_place(folder, "chunked.hdf5", images))["images"]
    if kind == "zarr":
        return zarr.open(write_place(folder, "v3.zarr", images))["images"]
    return images if kind == "numpy" else images[::-1][::-1]


@pytest.mark.parametrize("kind", ["numpy", "view", "memmap", "tensor", "grad", "h5py", "zarr"])
def test_every_array_in_python_gives_its_images(kind, tmp_path):
    images = make_images("NCHW", "uint8")
    source = open_object(hold(kind, images, tmp_path), name="mine", contents=Contents(labels=LABELS, targets=TARGETS))
    part = source.splits["all"]
    assert source.name == "mine" and source.parallel == "threads" and source.classes == ("0", "1", "2")
    assert source.options == {"axes": "NCHW", "version": None}
    assert part.listing.rows.labels.tolist() == LABELS.tolist() and part.listing.targets.shape == (N, 2)
    expected = images.transpose(0, 2, 3, 1)
    for i in (0, 7, N - 1):
        np.testing.assert_array_equal(part.read(i), expected[i])
    if kind in ("h5py", "zarr"):
        assert [part.block(i) for i in (0, 4, 5, N - 1)] == [0, 0, 1, 2]
        np.testing.assert_array_equal(part.read_block([8, 5]), expected[[8, 5]])
    if kind != "grad":
        check_source(source, n_images=4)


def test_what_is_read_is_nobody_elses():
    images = make_images()
    part = open_object(images, name="mine").splits["all"]
    part.read(0)[:] = 0
    assert images[0].any()


def test_arrays_by_split_take_labels_by_split():
    images = make_images("NHWC", "uint16")
    labels = {"train": LABELS, "test": [2, 1, -1]}
    source = open_object(
        {"train": images, "test": torch.tensor(images[:3])}, name="m", contents=Contents(labels=labels)
    )
    assert source.pixels == Pixels("native", 3, "uint16", 65535.0)
    assert {split: part.listing.rows.labels.tolist() for split, part in source.splits.items()} == {
        "train": LABELS.tolist(),
        "test": [2, 1, -1],
    }
    assert open_object({"train": images, "test": images}, name="m", contents=Contents(labels={"train": LABELS}))


@pytest.mark.parametrize(
    ("found", "labels", "words"),
    [
        ({"a": np.zeros((2, 8, 8))}, [0, 1], "labels are a list: expected a mapping by split"),
        ({"a": np.zeros((2, 8, 8))}, {"b": [0, 1]}, "labels are of split 'b': expected some of a"),
        ({"a": np.zeros((2, 8, 8)), "b": [1, 2]}, None, "split b is a builtins list: expected an array"),
        (
            {"a": np.zeros((2, 8, 8, 3)), "b": np.zeros((2, 3, 8, 8))},
            None,
            "axes of split a are NHWC, those of split b NCHW",
        ),
        ({"a": np.zeros((2, 8, 8)), "b": np.zeros((0, 8, 8))}, None, "m: split b .* holds no image"),
        (np.ma.masked_array(np.zeros((2, 8, 8)), False), None, "masked array: give .filled"),
        (torch.zeros(2, 8, 8, dtype=torch.bfloat16), None, r"torch.bfloat16 .*give .float\(\)"),
        (torch.zeros(2, 8, 8).to_sparse(), None, r"sparse.*\.to_dense\(\)"),
        (torch.zeros(2, 8, 8, device="meta"), None, r"tensor on meta: give .cpu\(\) of it"),
        (np.array([[["a"]]], object), None, "Python objects, which are never unpickled"),
        (np.zeros((2, 8, 8), "c16"), None, "holds complex128"),
        (np.zeros((8, 8)), None, r"shape \(8, 8\): expected \(images, height, width\)"),
    ],
)
def test_what_is_no_array_of_images_is_refused(found, labels, words):
    with pytest.raises(SourceError, match=words) as refused:
        open_object(found, name="m", contents=Contents(labels=labels))
    assert "\n" not in str(refused.value)


def test_arrays_that_would_be_computed_for_each_image_are_refused():
    import dask.array

    with pytest.raises(SourceError, match=r"a dask Array: expected a NumPy array: give numpy.asarray\(x\)"):
        open_object(dask.array.zeros((4, 8, 8)), name="m")


def test_an_array_of_a_closed_file_says_so(tmp_path):
    with h5py.File(write_place(tmp_path, "chunked.hdf5", make_images())) as file:
        part = open_object(file["images"], name="m").splits["all"]
    with pytest.raises(SourceError, match="is closed"):
        part.read(0)


def test_what_goes_with_arrays_is_refused_of_other_objects():
    class Own:
        name, classes, pixels, official, splits = "own", ("a",), Pixels(), None, {}

    with pytest.raises(UsageError, match="labels goes with arrays and tables, own says it itself: leave it out"):
        open_object(Own(), contents=Contents(labels=[0]))
    with pytest.raises(UsageError, match="needs a name"):
        open_object(make_images())


def test_an_array_in_python_has_no_name_to_give():
    with pytest.raises(UsageError, match="array is 'x', and mine is an array itself, without a name: leave array out"):
        open_object(make_images(), name="mine", contents=Contents(array="x"))


def test_an_array_of_a_file_closed_before_it_is_given_says_so(tmp_path):
    with h5py.File(write_place(tmp_path, "plain.h5", make_images())) as file:
        images = file["images"]
    with pytest.raises(SourceError, match="mine is of an HDF5 file that is closed: leave it open"):
        open_object(images, name="mine")
