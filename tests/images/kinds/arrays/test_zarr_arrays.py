import contextlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images.catalogue import list_contents, open_source, source_exists
from scatcache.images.contents import Contents
from scatcache.images.kinds.arrays.image_array import OpenedHere
from tests.images.kinds.arrays.array_places import HEIGHT, LABELS, WIDTH, N, make_images, write_place
from tests.store.servers import QuietHandler, RangeHandler, forget_aws, serve, serve_s3, use_bucket

CHUNKS = {2: "0.0.0", 3: "c/0/0/0"}


@pytest.fixture(scope="module")
def bucket():
    pytest.importorskip("obstore")
    with serve_s3() as bucket:
        yield bucket


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("data", [b"", b"123", None])
def test_a_damaged_chunk_is_unreadable_images_and_a_missing_one_fill_values(tmp_path, zarr_format, data):
    images, place = make_images(), tmp_path / "x.zarr"
    zarr.create_array(place, data=images, chunks=(5, HEIGHT, WIDTH), zarr_format=zarr_format, fill_value=3)
    chunk = place / CHUNKS[zarr_format]
    part = open_source(place).splits["all"]
    chunk.write_bytes(chunk.read_bytes()[:-9] if data is None else data)
    with pytest.raises(UnreadableImage, match="its chunk does not decode"):
        part.read(4)
    assert all(isinstance(found, UnreadableImage) for found in part.read_block([0, 4]))
    np.testing.assert_array_equal(part.read(5)[..., 0], images[5])
    chunk.unlink()
    assert (part.read(4) == 3).all()


@pytest.mark.parametrize(
    "document",
    ["", "{", "[]", "null", '{"zarr_format": 3, "node_type": "array"}', '{"zarr_format": 9, "node_type": "array"}'],
)
def test_metadata_that_is_none_is_refused_in_one_line(tmp_path, document):
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "zarr.json").write_text(document)
    with pytest.raises(SourceError, match="holds no Zarr array or group that can be read") as refused:
        open_source(tmp_path / "x.zarr")
    assert "\n" not in str(refused.value)


def test_a_group_without_arrays_and_an_empty_folder_of_the_name_are_refused(tmp_path):
    zarr.open_group(tmp_path / "g.zarr", mode="w").create_group("deeper")
    with pytest.raises(SourceError, match="holds no array: expected one of images"):
        open_source(tmp_path / "g.zarr")
    (tmp_path / "e.zarr").mkdir()
    with pytest.raises(SourceError, match="holds no Zarr array or group"):
        open_source(tmp_path / "e.zarr")


def test_a_claim_that_no_chunk_backs_is_refused(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", shape=(10**12, 100, 100), dtype="f4", chunks=(1, 100, 100))
    with pytest.raises(SourceError, match="claims 1000000000000 images: expected at most"):
        open_source(tmp_path / "x.zarr")


@pytest.mark.parametrize("inside", ["", "all", "all/coefficients"])
def test_a_scatcache_store_is_refused(sound, inside):
    with pytest.raises(SourceError, match="is a scatcache store, which holds coefficients"):
        open_source(sound / inside)


def test_a_store_that_is_deleted_meanwhile_does_not_read_as_fill_values(tmp_path):
    place = write_place(tmp_path, "v3.zarr", make_images())
    array = open_source(place).splits["all"].array

    class Deleting:
        def __getitem__(self, rows):
            shutil.rmtree(place)
            return np.zeros((1, HEIGHT, WIDTH))

    for opened in (OpenedHere(Deleting), array.opened):
        with pytest.raises(FileNotFoundError):
            replace(array, opened=opened).read_rows(0, 1)


def test_what_was_written_anew_under_the_same_name_is_read_anew(tmp_path):
    place = write_place(tmp_path, "v3.zarr", make_images())
    before = open_source(place).splits["all"]
    before.read(0)
    shutil.rmtree(place)
    images = make_images("NHWC", "uint16")
    after = open_source(write_place(tmp_path, "v3.zarr", images)).splits["all"]
    np.testing.assert_array_equal(after.read(7), images[7])
    with pytest.raises(SourceError, match="has changed since it was opened"):
        before.read(0)


@pytest.fixture(params=["s3", "ranges", "whole"])
def publish(request, monkeypatch):
    """Copies a folder to each kind of place in turn, and returns its URL."""
    forget_aws(monkeypatch)
    with contextlib.ExitStack() as stack:

        def upload(folder):
            if request.param == "s3":
                bucket = request.getfixturevalue("bucket")
                use_bucket(monkeypatch, bucket.endpoint)
                return bucket.upload(folder, f"{folder.parent.name}/{folder.name}")
            handler = RangeHandler if request.param == "ranges" else QuietHandler
            return f"{stack.enter_context(serve(folder.parent, handler)).url}/{folder.name}"

        upload.kind = request.param
        yield upload


def assert_served(source, images):
    part = source.splits["all"]
    assert source.root is None and part.locate(0) is None
    for i in (0, N - 1):
        np.testing.assert_array_equal(part.read(i)[..., 0], images[i])
    np.testing.assert_array_equal(np.stack(part.read_block([1, 0]))[..., 0], images[[1, 0]])


@pytest.mark.parametrize("name", ["alone.zarr", "sharded.zarr", "v2.zarr"])
def test_arrays_at_a_url_are_read_as_from_the_disk(tmp_path, publish, name):
    images = make_images()
    place = write_place(tmp_path, name, images)
    url = publish(place)
    assert source_exists(url) and "array" in list_contents(url)
    if name == "alone.zarr":
        source = open_source(url + "/")
    else:
        contents = Contents(array="images", labels="more/labels", targets="targets")
        source = open_source(url, contents=contents)
        assert source.splits["all"].listing.rows.labels.tolist() == LABELS.tolist()
        assert source.options == open_source(place, contents=contents).options
        assert_served(open_source(f"{url}/images"), images)
    assert source.url == url
    assert_served(source, images)
    shutil.rmtree(place)


def test_a_group_at_a_url_is_listed_where_the_bucket_or_its_metadata_does(tmp_path, publish):
    images = make_images()
    url = publish(write_place(tmp_path, "v3.zarr", images))
    if publish.kind == "s3":
        assert open_source(url).options["array"] == "images"
    else:
        with pytest.raises(SourceError, match="cannot be listed: give --array NAME"):
            open_source(url)
    zarr.consolidate_metadata(tmp_path / "v3.zarr")
    assert_served(open_source(publish(tmp_path / "v3.zarr")), images)


def test_a_store_of_ours_files_and_nothing_at_a_url_are_refused(sound, tmp_path, monkeypatch):
    forget_aws(monkeypatch)
    np.save(tmp_path / "x.npy", make_images())
    with serve(sound.parent) as server:
        with pytest.raises(SourceError, match="is a scatcache store"):
            open_source(f"{server.url}/{sound.name}")
        with pytest.raises(SourceError, match="is read from a local disk alone: fetch it"):
            open_source(f"{server.url}/x.npy")
        with pytest.raises(SourceError, match="holds no Zarr array or group"):
            open_source(f"{server.url}/gone.zarr")
        with pytest.raises(ScatcacheError, match="carries a user, password or query"):
            open_source(f"{server.url.replace('//', '//user:secret@')}/x.zarr")
    assert json.loads((sound / "zarr.json").read_text())


def test_metadata_nested_beyond_reason_is_refused(tmp_path):
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr/zarr.json").write_text("[" * 100_000)
    with pytest.raises(SourceError, match=r"x.zarr holds no Zarr array or group that can be read"):
        open_source(tmp_path / "x.zarr")
