"""What a folder holds before a run: nothing, a store, or one whose zarr.json is lost, damaged or altered.

The receipts decide. Each states the digest of the manifest that it was made under, so that a manifest made again, from
a command's settings or from the copy in STORE.job, is known for the right one.
"""

import contextlib

from scatcache.errors import NotAStore, SettingsDiffer, StoreDamaged
from scatcache.job.store_folder import StoreFolder
from scatcache.store.evidence import confirms
from scatcache.store.format.json_text import parse_json, to_json
from scatcache.store.format.manifest import Manifest
from scatcache.store.records import MEND_ROOT

# In STORE.job.
COPY = "manifest.json"


def find_stored(folder: StoreFolder) -> Manifest | None:
    """The manifest to go on with: the root's unless the receipts contradict it, else the copy that they confirm.

    None where there is no store, or one of ours whose manifest must be made again; confirm_manifest() then says whether
    it is the right one. Raises NotAStore for a newer format, StoreDamaged where nothing shows whose the folder is.
    """
    if not folder.writer.is_started():
        return None
    try:
        manifest = folder.records.read_manifest()
    except (NotAStore, StoreDamaged) as error:
        copy = _read_copy(folder)
        if copy is not None and confirms(folder.records.place, copy.digest):
            return copy
        has_receipts = confirms(folder.records.place, "") is not None
        if not folder.records.own_splits() or (isinstance(error, NotAStore) and not has_receipts):
            raise
        return None
    if confirms(folder.records.place, manifest.digest) is not False:
        return manifest
    copy = _read_copy(folder)
    return copy if copy is not None and confirms(folder.records.place, copy.digest) else None


def require_stored(folder: StoreFolder) -> Manifest:
    """find_stored where there must be one. Raises NotAStore, StoreDamaged that says what to type."""
    manifest = find_stored(folder)
    if manifest is None:
        folder.records.read_manifest()
        raise StoreDamaged(f"{folder.path}: zarr.json states settings that no receipt was made under: {MEND_ROOT}")
    return manifest


def confirm_manifest(folder: StoreFolder, manifest: Manifest) -> None:
    """Raises SettingsDiffer where zarr.json does not state this manifest and no receipt was made under it either;
    NotAStore where it then states a newer format."""
    if folder.writer.states(manifest) or confirms(folder.records.place, manifest.digest) is not False:
        return
    refuse_newer(folder)
    raise SettingsDiffer(
        f"{folder.path}: its zarr.json is lost or damaged, and the settings given, or the images, are not those of its "
        f"receipts: give every setting of the first run again, choose another --out, or --overwrite to start anew"
    )


def refuse_newer(folder: StoreFolder) -> None:
    """Raises NotAStore where zarr.json states a newer format, of which no receipt tells that it is damage."""
    with contextlib.suppress(StoreDamaged):
        folder.records.read_manifest()


def keep_copy(folder: StoreFolder, manifest: Manifest) -> None:
    """Keeps the manifest in STORE.job too: from it resume, or a shorter command, mends a damaged zarr.json."""
    data = to_json(manifest.to_dict())
    try:
        if folder.notes.read(COPY) == data:
            return
    except (FileNotFoundError, StoreDamaged):
        pass
    folder.notes.put(COPY, data)


def _read_copy(folder: StoreFolder) -> Manifest | None:
    try:
        return Manifest.from_dict(parse_json(folder.notes.read(COPY)))
    except (FileNotFoundError, NotAStore, StoreDamaged, ValueError):
        return None
