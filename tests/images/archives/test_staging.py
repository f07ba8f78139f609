import gzip
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import scatcache
from scatcache.images.archives import staging
from scatcache.images.archives.staging import choose_staging, stage, sweep
from scatcache.images.archives.unpack import unpack_folder


def list_all(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_stage_is_gone_at_its_end(tmp_path):
    with stage(tmp_path / "new", "wanted") as folder:
        (folder / "content").mkdir()
        sweep(tmp_path / "new")
        assert (folder / "content").is_dir(), "a living process's stage was swept"
    assert list_all(tmp_path) == ["new"]


KILLED = """
import os, signal, sys
from pathlib import Path
from scatcache.images.archives.staging import stage
with stage(Path(sys.argv[1]), "wanted") as folder:
    (folder / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_processs_stage_is_swept_and_nothing_else(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], timeout=60)
    assert done.returncode == -signal.SIGKILL and len(list_all(tmp_path)) == 3
    (tmp_path / f".x.{32 * 'a'}.stage").mkdir()  # killed before it had a lock
    for name in (".mine.stage", "wanted.stage", f".x.{31 * 'a'}.stage"):
        (tmp_path / name).mkdir()
    sweep(None, tmp_path / "nowhere", tmp_path)
    assert list_all(tmp_path) == sorted([".mine.stage", "wanted.stage", f".x.{31 * 'a'}.stage"])


def test_what_is_made_lies_beside_the_store_while_that_is_on_the_same_disk(tmp_path, monkeypatch):
    beside, work_dir = tmp_path / "data/cifar10", tmp_path / "a.zarr.job"
    assert choose_staging(beside, None) == beside
    assert choose_staging(beside, work_dir) == work_dir
    stat = os.stat

    class Elsewhere:
        st_dev, st_mode = -1, stat(work_dir).st_mode

    monkeypatch.setattr(os, "stat", lambda path, **options: Elsewhere if path == work_dir else stat(path, **options))
    assert choose_staging(beside, work_dir) == beside


@pytest.mark.parametrize("has_work_dir", [True, False])
def test_unpacking_leaves_nothing_beside_the_archive_at_any_moment(tmp_path, monkeypatch, has_work_dir):
    (tmp_path / "data").mkdir()
    archive, work_dir = tmp_path / "data/wanted.tar.gz", tmp_path / "a.zarr.job"
    (tmp_path / "0.bin").write_bytes(bytes(1000))
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "0.bin", "wanted/0.bin")
    seen, opened = [], gzip.open
    monkeypatch.setattr(gzip, "open", lambda *args: (seen.append(list_all(tmp_path / "data")), opened(*args))[1])
    where = work_dir if has_work_dir else None
    folder = unpack_folder(archive, "wanted", required=["0.bin"], max_bytes=2**20, work_dir=where)
    assert folder == tmp_path / "data/wanted" and list_all(tmp_path / "data")[0] == "wanted"
    assert (seen == [["wanted.tar.gz"]]) is has_work_dir
    assert not has_work_dir or list_all(work_dir) == []


def test_the_next_run_sweeps_where_its_source_lies(tmp_path):
    left = tmp_path / "a.zarr.job" / f".x.{32 * 'a'}.stage"
    left.mkdir(parents=True)
    scatcache.extract("photos", J=1, max_order=0, limit=2, out=tmp_path / "a.zarr")
    assert not left.exists() and staging.sweep(left) is None


def test_a_stage_that_lost_its_lock_and_nothing_else_is_swept(tmp_path):
    with stage(tmp_path, "made") as folder:
        (folder / "content").write_text("half")
        # As where removing the rest of it failed.
        (folder / "lock").unlink()
        left = folder.rename(tmp_path / "aside")
    left.rename(folder)
    sweep(tmp_path)
    assert list_all(tmp_path) == []
