import json
import os
import shutil
from dataclasses import replace

import pytest

from scatcache.durable import temporary_beside
from scatcache.errors import NotAStore, ScatcacheError, StoreDamaged
from scatcache.job.store_folder import StoreFolder
from scatcache.scattering.paths import channel_table
from scatcache.store.format.summaries import finish_split
from scatcache.store.records import index_path, shard_path, summary_path
from tests.store.stores import edit, flip, swap


@pytest.fixture
def folder(store):
    return StoreFolder(store)


def find_done(folder, shard):
    manifest = folder.records.read_manifest()
    layout = folder.records.read_layout(manifest, "all")
    digest = folder.records.read_rows(layout, "all").digest(layout.rows_of(shard))
    return folder.writer.find_done(manifest, "all", layout, shard, rows_digest=digest)


def read_split(folder):
    """(manifest, layout, rows, channels)."""
    manifest = folder.records.read_manifest()
    layout = folder.records.read_layout(manifest, "all")
    return manifest, layout, folder.records.read_rows(layout, "all"), channel_table(manifest.spec)


def test_finished_shard_is_done(folder):
    assert [find_done(folder, shard).shard for shard in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder.path / shard_path("all", 2)).unlink(),
        lambda folder: edit((folder.path / shard_path("all", 2)), lambda data: data[:-1]),
        lambda folder: edit((folder.path / shard_path("all", 2)), lambda data: b""),
        lambda folder: flip((folder.path / shard_path("all", 2)), -3),
        lambda folder: swap((folder.path / shard_path("all", 2)), (folder.path / shard_path("all", 1))),
        lambda folder: (folder.path / "all/coefficients/receipts" / "00002.json").unlink(),
        lambda folder: flip(folder.path / "all/coefficients/receipts" / "00002.json", 500),
        lambda folder: swap(
            (folder.path / "all/coefficients/receipts") / "00002.json",
            (folder.path / "all/coefficients/receipts") / "00001.json",
        ),
    ],
)
def test_shard_that_does_not_agree_with_its_receipt_is_not_done(folder, damage):
    damage(folder)
    assert find_done(folder, 2) is None
    assert find_done(folder, 0) is not None


def test_shard_made_of_other_rows_is_not_done(folder):
    manifest, layout, _, _ = read_split(folder)
    assert folder.writer.find_done(manifest, "all", layout, 0, rows_digest="sha256:other") is None


def test_shard_of_images_of_another_shape_is_not_done(folder):
    manifest, layout, rows, _ = read_split(folder)
    other = replace(layout, image_shape=(32, 24))
    assert folder.writer.find_done(manifest, "all", other, 0, rows_digest=rows.digest(layout.rows_of(0))) is None


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"7", b'{"attributes": 7}', b"\xff\xfe"])
def test_root_that_does_not_parse_is_damage(folder, document):
    (folder.path / "zarr.json").write_bytes(document)
    with pytest.raises(StoreDamaged, match=r"zarr\.json is not readable"):
        folder.records.read_manifest()


@pytest.mark.parametrize("document", ["{}", '{"attributes": {}}', '{"zarr_format": 3, "node_type": "group"}'])
def test_zarr_store_of_others_is_no_store(tmp_path, document):
    (tmp_path / "zarr.json").write_text(document)
    with pytest.raises(NotAStore, match="a folder without our manifest"):
        StoreFolder(tmp_path).records.read_manifest()


@pytest.mark.parametrize(("name", "found"), [("missing", "nothing"), ("file", "a file"), (".", "a folder without our")])
def test_what_is_no_store_is_named(tmp_path, name, found):
    (tmp_path / "file").touch()
    with pytest.raises(NotAStore, match=rf"found {found}.*name a folder that scatcache extract made"):
        StoreFolder(tmp_path / name).records.read_manifest()


def test_split_without_a_shape_is_damage(folder):
    document = json.loads((folder.path / "all/zarr.json").read_bytes())
    document["attributes"]["scatcache"]["image_shape"] = None
    (folder.path / "all/zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreDamaged, match=r"split all, zarr\.json: it holds no record of it"):
        folder.records.read_layout(folder.records.read_manifest(), "all")


def test_split_whose_own_metadata_is_gone_is_lost(folder):
    assert (folder.records.splits(), folder.records.lost_splits()) == (["all"], [])
    (folder.path / "all/zarr.json").unlink()
    assert (folder.records.splits(), folder.records.lost_splits()) == ([], ["all"])


def test_a_split_s_record_is_found_in_three_places(folder):
    manifest, layout, _, _ = read_split(folder)
    own, summary = folder.path / "all/zarr.json", folder.path / summary_path("all")
    edit(own, lambda data: data.replace(b'"n_listed": 50', b'"n_listed": 51'))
    found = folder.records.find_layouts(manifest, "all")
    assert [record.n_listed for record in found] == [50, 51] and found[0] == layout
    own.unlink()
    assert folder.records.find_layouts(manifest, "all") == [layout]
    summary.unlink()
    assert folder.records.find_layouts(manifest, "all") == [layout]
    (folder.path / "zarr.json").unlink()
    assert folder.records.find_layouts(manifest, "all") == []


def test_folder_of_others_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ScatcacheError, match="not deleted"):
        StoreFolder(tmp_path).writer.delete()
    assert (tmp_path / "thesis.tex").exists()


def test_store_is_deleted_whole(folder):
    folder.writer.delete()
    assert list(folder.path.iterdir()) == []


def test_deleting_that_is_cut_off_leaves_what_can_be_deleted(folder, monkeypatch):
    def die(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        folder.writer.delete()
    monkeypatch.undo()
    folder.writer.delete()
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("attribute", ["x", {}, {"format": None}, 1])
def test_foreign_groups_with_an_attribute_of_our_name_are_not_deleted(tmp_path, attribute):
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"scatcache": attribute}}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ScatcacheError, match="not deleted"):
        StoreFolder(tmp_path).writer.delete()
    assert (tmp_path / "zarr.json").exists()


def test_split_appears_whole_or_not_at_all(folder, tmp_path, monkeypatch):
    manifest, layout, rows, channels = read_split(folder)
    other = StoreFolder(tmp_path / "other.zarr")
    other.writer.create(manifest)
    calls, fsync = [], os.fsync

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == 20:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        other.writer.add_split(manifest, "all", layout, rows=rows, channels=channels)
    # What is there of it is no split yet, and the next run goes on with it.
    assert other.records.splits() == [] and other.records.lost_splits() == []
    monkeypatch.undo()
    other.writer.add_split(manifest, "all", layout, rows=rows, channels=channels)
    other.writer.consolidate(manifest, channels=channels)
    for path in sorted(other.path.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (folder.path / path.relative_to(other.path)).read_bytes()


@pytest.mark.parametrize("lost", ["zarr.json", "label/c.0", "key/zarr.json", "j1", "label"])
def test_added_split_is_mended_and_else_left_alone(folder, lost):
    manifest, layout, rows, channels = read_split(folder)
    sound = {
        path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file() and "receipts" not in path.parts
    }
    times = {path: path.stat().st_mtime_ns for path in sound}
    folder.writer.add_split(manifest, "all", layout, rows=rows, channels=channels)
    assert {path: path.stat().st_mtime_ns for path in sound} == times
    victim = folder.path / "all" / lost
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    folder.writer.add_split(manifest, "all", layout, rows=rows, channels=channels)
    assert {path: path.read_bytes() for path in sound} == sound and (
        folder.path / "all" / "coefficients/receipts"
    ).is_dir()


def test_leftovers_of_killed_writers_are_cleaned(folder):
    # What users keep beside the splits does not look like ours.
    (folder.path / ".cache.tmp").write_bytes(b"mine")
    sound = set(folder.path.rglob("*"))
    for place in (".", "all/coefficients", "all/coefficients/receipts", "all/status"):
        temporary_beside(folder.path / place / "c.0").write_bytes(b"torn")
    temporary_beside(folder.path / "all").mkdir()
    temporary_beside(folder.job / "job.json").write_bytes(b"torn")
    folder.clean(["all"])
    assert not list(folder.job.glob(".*.tmp"))
    assert set(folder.path.rglob("*")) == sound


def test_equal_summary_is_not_written_again(folder):
    summary, path = folder.records.read_summary("all"), (folder.path / summary_path("all"))
    before = path.stat().st_ino
    _, layout, rows, _ = read_split(folder)
    receipts = [folder.records.read_receipt("all", shard)[0] for shard in range(layout.n_shards)]
    folder.writer.publish_split(finish_split(receipts, layout, rows))
    assert path.stat().st_ino == before
    flip(path, 10)
    folder.writer.publish_split(finish_split(receipts, layout, rows))
    assert path.stat().st_ino != before and folder.records.read_summary("all") == summary
    folder.writer.withdraw_summary("all")
    folder.writer.withdraw_summary("all")
    assert folder.records.read_summary("all") is None
    # Nor do its statuses and index say that anything is there.
    assert [path.name for path in (folder.path / "all/status").iterdir()] == ["zarr.json"]
    assert not (folder.path / index_path("all")).exists()


@pytest.mark.parametrize("name", ["key", "label", "source_index", "view", "file_bytes"])
def test_missing_or_damaged_row_array_is_named(folder, name):
    layout = read_split(folder)[1]
    path = folder.path / "all" / name / "c.0"
    flip(path, 5)
    with pytest.raises(StoreDamaged, match=rf"split all, array {name} \(c\.0\): .*crc32c"):
        folder.records.read_rows(layout, "all")
    path.unlink()
    with pytest.raises(StoreDamaged, match=rf"split all, array {name} \(c\.0\): it is missing"):
        folder.records.read_rows(layout, "all")
