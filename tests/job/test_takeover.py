import shutil

import pytest

import scatcache
from scatcache.durable import NewFile
from scatcache.errors import ScatcacheError
from scatcache.job import shard_task
from scatcache.job.shard_task import compute_shard
from scatcache.job.store_folder import StoreFolder
from scatcache.job.takeover import check_ours, take_over
from scatcache.store.records import shard_path
from tests.job.test_shard_task import make_job
from tests.runs import find_differences, list_temporaries

OTHER = {"J": 2, "L": 4, "shard_images": 4}
SAME = {"J": 1, "L": 4, "shard_images": 4}


def overwrite_at(moment, monkeypatch, images, out, settings):
    """Makes a newer run overwrite the store, just before a task of the older one publishes its shard or receipt."""
    kind, name = {"shard": (shard_task.ShardSink, "finish"), "receipt": (NewFile, "commit")}[moment]
    original = getattr(kind, name)

    def act(*arguments):
        monkeypatch.setattr(kind, name, original)
        found = original(*arguments)
        scatcache.extract(images, out=out, overwrite=True, **settings)
        return found

    monkeypatch.setattr(kind, name, act)


@pytest.mark.parametrize("moment", ["shard", "receipt"])
@pytest.mark.parametrize("settings", [OTHER, SAME], ids=["other settings", "same settings"])
def test_an_orphan_changes_nothing_of_a_newer_store(tmp_path, monkeypatch, moment, settings):
    job, tasks, folder = make_job(tmp_path, limit=5)
    images, straight = tmp_path / "images", tmp_path / "straight.zarr"
    scatcache.extract(images, out=straight, **settings)
    overwrite_at(moment, monkeypatch, images, folder.path, settings)
    with pytest.raises(ScatcacheError, match="a newer run has taken the store over"):
        compute_shard(job, tasks[0])
    assert find_differences(straight, folder.path) == []


def test_an_orphan_that_starts_late_computes_nothing(tmp_path, monkeypatch):
    job, tasks, folder = make_job(tmp_path)
    folder.job.mkdir(exist_ok=True)
    take_over(folder)
    monkeypatch.setattr(shard_task, "decode_batches", None)
    with pytest.raises(ScatcacheError, match="a newer run has taken the store over"):
        compute_shard(job, tasks[0])


@pytest.mark.parametrize("damage", ["removed", "damaged", "replaced", "store removed"])
def test_the_root_alone_stops_a_task_too(tmp_path, monkeypatch, damage):
    """STORE.job may be deleted."""
    job, tasks, folder = make_job(tmp_path)
    finish, root = shard_task.ShardSink.finish, folder.path / "zarr.json"

    def act(sink):
        finish(sink)
        shutil.rmtree(folder.job, ignore_errors=True)
        if damage == "replaced":
            (tmp_path / "other").mkdir()
            other, _, _ = make_job(tmp_path, name="other/store.zarr", J=2)
            root.write_bytes((StoreFolder(other.store).path / "zarr.json").read_bytes())
        elif damage == "damaged":
            root.write_bytes(root.read_bytes()[:-20])
        elif damage == "removed":
            root.unlink()
        else:
            shutil.rmtree(folder.path)

    monkeypatch.setattr(shard_task.ShardSink, "finish", act)
    with pytest.raises(ScatcacheError, match=r"zarr.json (is missing or damaged|was replaced by another store's)"):
        compute_shard(job, tasks[0])
    assert not folder.path.exists() or list_temporaries(folder.path) == []
    assert not (folder.path / shard_path("all", 0)).exists()


def test_the_latest_run_may_write_and_so_may_one_whose_token_was_deleted(tmp_path):
    job, _, folder = make_job(tmp_path)
    folder.job.mkdir(exist_ok=True)
    for _ in range(2):
        check_ours(folder, job.manifest, take_over(folder))
    shutil.rmtree(folder.job)
    check_ours(folder, job.manifest, "any")
