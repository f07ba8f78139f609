import errno
import json
import os

import pytest

from scatcache.store.format.json_text import to_json
from scatcache.store.places.files import (
    append_line,
    fsync_folder,
    remove_temporaries,
    temporary_beside,
    write_atomically,
)


def fail_with(number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    return fail


def test_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"old")]


def test_interrupted_write_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new)))
    write_atomically(tmp_path / "file", b"data")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_folder_that_cannot_be_synced_is_forgiven_and_a_failing_disk_is_not(tmp_path, monkeypatch, number, raises):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    if raises:
        with pytest.raises(OSError, match="Input/output"):
            fsync_folder(tmp_path)
    else:
        fsync_folder(tmp_path)


def test_temporaries_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    temporary_beside(tmp_path / "c.0").write_bytes(b"torn")
    temporary_beside(tmp_path / "train").mkdir()
    kept = {"c.0", "notes.tmp", ".hidden"}
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    remove_temporaries(tmp_path, tmp_path / "missing")
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_temporary_names_are_never_shared(tmp_path):
    assert len({temporary_beside(tmp_path / "c.0") for _ in range(100)}) == 100


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


def test_equal_values_have_one_text():
    assert to_json({"b": 1, "a": [0.1, "ä"]}) == to_json({"a": [0.1, "ä"], "b": 1}) == b'{"a":[0.1,"\\u00e4"],"b":1}\n'


def test_text_holds_no_nan():
    with pytest.raises(ValueError, match=r"NaN|JSON"):
        to_json({"a": float("nan")})
    assert json.loads(to_json([1e-323, 1.7976931348623157e308])) == [1e-323, 1.7976931348623157e308]
