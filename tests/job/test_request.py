import json

import pytest

from scatcache.errors import NotAStore, ScatcacheError, UsageError
from scatcache.job.request import check_request, name_store, open_target
from scatcache.job.settings import ExtractOptions
from scatcache.job.store_folder import StoreFolder


def open_out(out):
    return open_target("photos", ExtractOptions(out=out))


def test_a_store_is_called_after_its_source_and_J():
    assert str(name_store("cifar10", 3)) == "cifar10-J3.zarr"
    with pytest.raises(UsageError, match="--J 2"):
        name_store("cifar10", None)


def test_out_may_be_absent_or_empty(tmp_path):
    assert open_out(tmp_path / "absent.zarr").path == tmp_path / "absent.zarr"
    (tmp_path / "empty.zarr").mkdir()
    open_out(tmp_path / "empty.zarr")


def test_out_may_hold_what_a_killed_run_left_of_its_first_file(tmp_path):
    (tmp_path / "killed.zarr").mkdir()
    (tmp_path / "killed.zarr" / f".zarr.json.{32 * 'a'}.tmp").write_bytes(b"{")
    open_out(tmp_path / "killed.zarr")


@pytest.mark.parametrize("name", ["notes.txt", "draft.tmp", ".hidden", ".draft.tmp", "zarr.json.tmp"])
def test_out_is_no_folder_with_anything_else_in_it(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ScatcacheError, match="choose another --out"):
        open_out(tmp_path)


def test_out_is_no_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ScatcacheError, match="is a file"):
        open_out(tmp_path / "file")


def test_a_newer_format_is_refused(tmp_path):
    folder = StoreFolder(tmp_path / "store.zarr")
    folder.path.mkdir()
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"scatcache": {"format": 99}}}
    (folder.path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(NotAStore, match=r"format 99.*newer"):
        open_out(folder.path).records.read_manifest()


def test_a_store_at_a_url_is_no_target():
    with pytest.raises(UsageError, match=r"s3://bucket/a\.zarr is no local path"):
        open_out("s3://bucket/a.zarr")


class Objects:
    """What is no name and no path."""


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("cifar11", {}, "unknown source 'cifar11': expected one of cifar10, .* or a folder; did you mean cifar10"),
        ("no/such", {}, "unknown source 'no/such': .* or a folder, which must exist"),
        ("photos", {"name": "mine"}, "go with dataset objects"),
        ("photos", {"version": "2"}, "go with dataset objects"),
        ("photos", {"download": True}, "photos cannot be downloaded by --download, only"),
        ("cifar10", {"split": ["train", "val"]}, "cifar10 has no split 'val': expected one of train, test"),
        (".", {"root": "data"}, "is a path, and its own root: leave --root out"),
        (Objects(), {}, "a Objects needs a name"),
        (Objects(), {"name": "mine", "root": "data"}, "leave root out"),
        (Objects(), {"name": "mine", "download": True}, "leave download out"),
    ],
)
def test_what_does_not_go_with_a_source_is_refused(source, options, message):
    with pytest.raises(UsageError, match=message):
        check_request(source, ExtractOptions(**options))


def test_what_goes_with_a_source_is_let_pass(tmp_path):
    check_request("cifar10", ExtractOptions(download=True, split="test", root="data"))
    check_request(tmp_path, ExtractOptions(split="anything"))
    check_request(Objects(), ExtractOptions(name="mine", version="2"))
