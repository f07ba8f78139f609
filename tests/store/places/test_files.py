import os
import shutil

import pytest

from scatcache.durable import temporary_beside
from scatcache.store.places.files import append_line, remove, remove_temporaries


def test_temporaries_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    temporary_beside(tmp_path / "c.0").write_bytes(b"torn")
    temporary_beside(tmp_path / "train").mkdir()
    kept = {"c.0", "notes.tmp", ".hidden"}
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    remove_temporaries(tmp_path / "missing")
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("kind", ["file", "folder", "link", "missing"])
def test_what_is_removed_is_gone_and_nothing_that_a_link_leads_to(tmp_path, kind):
    path, other = tmp_path / "all", tmp_path / "other"
    (other / "inner").mkdir(parents=True)
    if kind == "file":
        path.write_bytes(b"data")
    elif kind == "folder":
        shutil.copytree(other, path)
    elif kind == "link":
        path.symlink_to(other)
    remove(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"] and (other / "inner").is_dir()


def test_a_folder_is_never_seen_removed_in_part(tmp_path, monkeypatch):
    def die(path):
        raise KeyboardInterrupt

    (tmp_path / "all/inner").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        remove(tmp_path / "all")
    assert not (tmp_path / "all").exists()
    monkeypatch.undo()
    remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_log_goes_to_its_own_file_alone(tmp_path, kind):
    log, other = tmp_path / "log.jsonl", tmp_path / "precious"
    append_line(log, "one")
    append_line(log, "two")
    assert log.read_text() == "one\ntwo\n"
    log.unlink()
    if kind == "link":
        other.write_text("mine")
    if kind in ("link", "dangling"):
        log.symlink_to(other)
    else:
        os.mkfifo(log) if kind == "fifo" else log.mkdir()
    with pytest.raises(OSError, match=r"."):
        append_line(log, "three")
    assert other.read_text() == "mine" if kind == "link" else not other.exists()
