"""Publishing files so that a reader sees the whole of one or nothing, and a power cut keeps what was published."""

import contextlib
import errno
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"


def temporary_beside(path: Path) -> Path:
    """A fresh name in path's own folder: on the same file system, so that renaming is atomic, and never shared."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


def fsync_folder(folder: Path) -> None:
    """Makes the names in a folder durable; quietly nothing on file systems that cannot fsync folders (EINVAL)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Renames a finished, synced temporary onto its final name and makes the name durable."""
    os.replace(temporary, path)
    fsync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes, syncs and publishes one small file; leaves no temporary behind when it fails."""
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_temporaries(*folders: Path) -> None:
    """Removes what killed writers left in these folders; a missing folder is empty, a vanished file is gone."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if not (entry.name.startswith(".") and entry.name.endswith(TEMPORARY_SUFFIX)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """One value has one text: keys sorted, ASCII only, a newline at the end."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, sort_keys=True, indent=indent, separators=separators, allow_nan=False)
    return text.encode("ascii") + b"\n"
