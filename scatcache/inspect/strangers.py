"""What verify says of files that no run of ours wrote: other programs' members and metadata, leftovers, strays."""

from collections.abc import Collection, Iterator, Mapping

from scatcache.durable import is_own_temporary, is_temporary
from scatcache.errors import StoreDamaged
from scatcache.inspect.failures import Failure
from scatcache.scattering.paths import channel_table
from scatcache.store.documents import (
    Document,
    Expected,
    encode_document,
    find_altered,
    find_consolidated,
    read_document,
)
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.row_arrays import count_row_chunks, list_arrays, row_chunk_name
from scatcache.store.records import StoreRecords, index_path, receipt_path, shard_path, summary_path

# How many names a note lists.
N_NAMED = 10
PUT_BACK = "the data are not touched by that, and `scatcache resume` puts it back"


def check_documents(store: StoreRecords, expected: Expected) -> tuple[list[Failure], list[str]]:
    """(failures, notes) on every zarr.json of ours: missing, damaged, or rewritten by another program."""
    failures, rewritten = [], []
    for folder in sorted(expected.documents.keys() & expected.ours.keys()):
        path = f"{folder}/zarr.json".removeprefix("/")
        split = folder.partition("/")[0] or None
        try:
            data = store.place.read(path)
        except (FileNotFoundError, StoreDamaged) as error:
            reason = "the file is missing" if isinstance(error, FileNotFoundError) else str(error)
            failures.append(Failure(split, None, path, reason))
            continue
        if data == encode_document(expected.documents[folder]):
            continue
        document = read_document(store.place, folder)
        if not document:
            failures.append(Failure(split, None, path, f"it is no Zarr metadata any more: {PUT_BACK}"))
        elif altered := find_altered(document, expected.ours[folder]):
            lost = _name(altered)
            reason = f"another program rewrote it, and the metadata is not what the manifest gives ({lost}): {PUT_BACK}"
            failures.append(Failure(split, None, path, reason))
        else:
            rewritten.append(path)
    return failures, [*_note_rewritten(store, expected, rewritten), *_note_added(expected)]


def _note_rewritten(store: StoreRecords, expected: Expected, paths: list[str]) -> Iterator[str]:
    if paths:
        yield (
            f"another program rewrote {_name(paths)}: all of ours is in it; `scatcache resume` writes it in our own "
            f"manner again and keeps what was added"
        )
    listed: dict[str, Document] = find_consolidated(read_document(store.place, ""))
    there = find_consolidated(expected.documents[""])
    if gone := sorted(listed.keys() - there.keys()):
        yield f"zarr.json lists what is not there: {_name(gone)}: `scatcache resume` drops that"


def _note_added(expected: Expected) -> Iterator[str]:
    if expected.members:
        yield f"arrays and groups of another program, kept and not checked: {_name(list(expected.members))}"
    names = [f"{name} of {folder or 'the root'}" for folder, found in expected.attributes.items() for name in found]
    if names:
        yield f"attributes of another program, kept: {_name(names)}"


def check_files(
    store: StoreRecords,
    manifest: Manifest,
    splits: Collection[str],
    layouts: Mapping[str, SplitLayout],
    expected: Expected,
) -> tuple[list[Failure], list[str]]:
    """(failures, notes) on the files that nobody expects; nothing where the place cannot list its files.

    layouts: of the splits, as far as they are known.
    """
    sizes = store.place.list_sizes("")
    begun = [split for split in store.own_splits() if split not in splits]
    failures = [Failure(split, None, f"{split}/zarr.json", _advise_on_begun(store, split)) for split in begun]
    beside = []
    channel_folders = tuple(manifest.add_step(channel_table(manifest.spec)))
    for name in sorted(sizes or ()):
        split = name.partition("/")[0]
        parts = name.split("/")
        # Beside the splits users may keep files of their own.
        if any(map(is_own_temporary, parts)) or (split in splits and any(map(is_temporary, parts))):
            reason = "left by a run that was killed: `scatcache resume` removes it, or delete it"
            failures.append(Failure(split if split in splits else None, None, name, reason))
        elif _is_expected(layouts.get(split), name, channel_folders) or _is_member(expected, name):
            continue
        elif split in layouts and len(parts) > 2 and _is_array(layouts[split], parts[1], channel_folders):
            failures.append(Failure(split, None, name, "no file of this store: delete it"))
        elif split in layouts or split not in (*splits, *begun):
            beside.append(name)
    return failures, [f"files that are no part of the store: {_name(beside)}"] if beside else []


def _advise_on_begun(store: StoreRecords, split: str) -> str:
    return (
        f"the split was begun, and its making was cut off: give `scatcache resume {store.name} --split {split}`, or "
        f"delete the folder"
    )


def _is_member(expected: Expected, name: str) -> bool:
    return any(name.startswith(f"{member}/") for member in expected.members)


def _is_array(layout: SplitLayout, folder: str, channel_folders: tuple[str, ...]) -> bool:
    """Whether a split has an array of this name."""
    return folder in ("coefficients", *list_arrays(layout, finished=True), *channel_folders)


def _is_expected(layout: SplitLayout | None, name: str, channel_folders: tuple[str, ...]) -> bool:
    """Whether a file's name is one that a run of ours gives, here or later; layout: of the split that it lies in."""
    split, _, inner = name.partition("/")
    if layout is None:
        return name == "zarr.json"
    if inner in ("zarr.json", "coefficients/zarr.json") or name in (summary_path(split), index_path(split)):
        return True
    folder, _, file = inner.partition("/")
    if folder in channel_folders:
        return file in ("zarr.json", "c.0")
    is_row_array = folder in list_arrays(layout, finished=True)
    if is_row_array and file == "zarr.json":
        return True
    digits = file.removeprefix("receipts/").removeprefix("c.").partition(".")[0]
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        return False
    number = int(digits)
    if is_row_array:
        return number < count_row_chunks(layout, folder) and file == row_chunk_name(folder, number)
    return number < layout.n_shards and name in (shard_path(split, number), receipt_path(split, number))


def _name(names: list[str]) -> str:
    """The first of some names, escaped, and how many more there are."""
    listed = ", ".join(name.encode("unicode_escape").decode() for name in names[:N_NAMED])
    return listed + (f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else "")
