"""Which run a store belongs to: workers that outlive theirs must not write over what a newer one makes."""

import uuid

from scatcache.errors import ScatcacheError, StoreDamaged
from scatcache.job.store_folder import StoreFolder
from scatcache.store.format.manifest import Manifest


def take_over(folder: StoreFolder) -> str:
    """The token of a new run, left in STORE.job/run: from here on tasks of earlier runs publish nothing.

    Call it holding the lock, before anything of the store is deleted or made.
    """
    token = uuid.uuid4().hex
    folder.notes.put("run", token.encode())
    return token


def check_ours(folder: StoreFolder, manifest: Manifest, token: str) -> None:
    """Raises ScatcacheError where the store is no longer the one with this manifest, or of another run.

    Where the user has deleted STORE.job, the manifest decides alone.
    """
    try:
        found = folder.notes.read("run")
    except (FileNotFoundError, StoreDamaged):
        found = token.encode()
    if found != token.encode():
        raise ScatcacheError(
            f"{folder.path}: a newer run has taken the store over: nothing of this one is written any more"
        )
    try:
        root = folder.records.read_root()
    except StoreDamaged:
        root = None
    if root != manifest.to_dict():
        state = "is missing or damaged" if root is None else "was replaced by another store's"
        raise ScatcacheError(
            f"{folder.path}: its zarr.json {state} since this run began: nothing of it is written any more; give the "
            f"same command again"
        )
