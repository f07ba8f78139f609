import errno
import os

import pytest

from scatcache.durable import NewFile, fsync_folder, make_folder, temporary_beside, write_file


def fail_with(number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    return fail


def test_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_file(path, b"old")
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"new")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"old")]


def test_interrupted_write_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new)))
    write_file(tmp_path / "file", b"data")
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_folder_that_cannot_be_synced_is_forgiven_and_a_failing_disk_is_not(tmp_path, monkeypatch, number, raises):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    if raises:
        with pytest.raises(OSError, match="Input/output"):
            fsync_folder(tmp_path)
    else:
        fsync_folder(tmp_path)


def test_temporary_names_are_never_shared(tmp_path):
    assert len({temporary_beside(tmp_path / "c.0") for _ in range(100)}) == 100


def test_a_file_in_the_making_is_seen_by_nobody_and_gone_without_commit(tmp_path):
    path = tmp_path / "file"
    with NewFile(path) as new:
        new.write(b"torn")
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_the_check_before_the_renaming_raises_leaves_no_file(tmp_path):
    def refuse():
        assert [entry.name for entry in tmp_path.iterdir()] != ["file"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), NewFile(tmp_path / "file") as new:
        new.write(b"data")
        new.commit(refuse)
    assert list(tmp_path.iterdir()) == []


def test_two_who_write_one_file_end_in_one_whole_file(tmp_path):
    path = tmp_path / "file"
    with NewFile(path) as first, NewFile(path) as second:
        first.write(b"one")
        second.write(b"other")
        first.commit()
        assert path.read_bytes() == b"one"
        second.commit()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"other"


def test_folders_that_are_made_have_durable_names(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def note(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    make_folder(tmp_path / "a/b/c")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/b")]
    make_folder(tmp_path / "a/b/c")
    assert len(synced) == 3
