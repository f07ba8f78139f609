"""How what is asked for differs from a store: settings field by field, listings image by image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scatcache.errors import SettingsDiffer, StoreDamaged
from scatcache.images.source import Listing
from scatcache.job.planning import sort_key
from scatcache.job.store_folder import StoreFolder
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest, differing_fields
from scatcache.store.format.row_arrays import RowTable
from scatcache.store.records import StoreRecords

# Keys told of each kind of change.
N_KEYS = 3
# Of an item of a dataset object, which has no size, that has a label by now.
_UNKNOWN = "as of an item that does not decode"


@dataclass(frozen=True)
class Listed:
    """The splits of a job, by name. listings: of the source now; records: all that the store says of a split, nothing
    of one that was never added; layouts: as they would be now."""

    listings: Mapping[str, Listing]
    records: Mapping[str, Sequence[SplitLayout]]
    layouts: Mapping[str, SplitLayout]


def compare(folder: StoreFolder, stored: Manifest, wanted: Manifest, listed: Listed) -> None:
    """Raises SettingsDiffer listing the fields in which settings or splits differ; see Listed.

    Where a split's records contradict one another, one is damaged, and the right one is that which agrees.
    """
    # An encoding is chosen by its name and its step, and its facts follow.
    then, now = (
        manifest.to_dict() | {"encoding": manifest.encoding, "step": manifest.settings.step}
        for manifest in (stored, wanted)
    )
    differing = list(differing_fields(then, now))
    changed = [split for split, records in listed.records.items() if records and listed.layouts[split] not in records]
    if not (differing or changed):
        return
    listing_lines: list[str] = []
    layout_fields: list[tuple[str, Any, Any]] = []
    for split in changed:
        record, listing = listed.records[split][0], listed.listings[split]
        fields = differing_fields(record.to_dict(), listed.layouts[split].to_dict(), f"splits.{split}")
        layout_fields += fields
        # The listing decides how many rows and shards there are: naming it says the rest.
        if record.listing != listing.hash:
            listing_lines.append(_describe_listing(folder, stored, split, record, listing, wanted.classes))
            layout_fields.append((f"splits.{split}.listing", record.listing, listing.hash))
    # What follows from other fields says nothing more.
    derived = ["classes"] + ["filter_bank"] * (stored.spec != wanted.spec)
    others = [entry for entry in differing if entry[0].split(".")[0] not in derived]
    if not (listing_lines or others):
        others = differing + layout_fields
    advice = "choose another --out, or --overwrite to start anew, with `scatcache extract`"
    if any(_UNKNOWN in line for line in listing_lines):
        advice += (
            " (a store keeps the labels that it began with, so retry_unreadable mends no image of an item whose label "
            "was unknown; a dataset with `targets`, the labels of all items, knows them from the start)"
        )
    lines = [f"{field}: the store has {_show(then)}, you asked for {_show(now)}" for field, then, now in others]
    raise SettingsDiffer(
        f"{folder.path} was made with other settings or from other images:\n  "
        + "\n  ".join(lines + listing_lines)
        + f"\n{advice}",
        tuple(field for field, _, _ in [*differing, *layout_fields]),
    )


def _describe_listing(
    folder: StoreFolder,
    stored: Manifest,
    split: str,
    record: SplitLayout,
    listing: Listing,
    classes: tuple[str, ...],
) -> str:
    line = (
        f"splits.{split}.listing: the keys, labels or sizes of split {split} are not those of the first run "
        f"({record.n_listed} rows then, {len(listing.rows)} now)"
    )
    if split not in folder.records.splits():
        return f"{line}: it is not in the store, so which they are cannot be told"
    return f"{line}: {describe_changes(folder.records, stored, split, record, listing, classes)}"


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass
class Changes:
    """Keys by what has happened to them, each with a remark, in the order of the keys."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """How many of each kind, and the first of them; "" where there are none."""
        kinds = {"added": self.added, "removed": self.removed, "changed in size": self.changed,
                 "relabelled": self.relabelled}  # fmt: skip
        return "; ".join(f"{len(keys)} {kind}: {_show_first(keys)}" for kind, keys in kinds.items() if keys)


def describe_changes(
    records: StoreRecords,
    stored: Manifest,
    split: str,
    record: SplitLayout,
    listing: Listing,
    classes: Sequence[str],
) -> str:
    """What of a split is not as in the store: how many images were added, removed, changed, relabelled, and the first.

    A store made with limit can tell of the images that it holds, or would hold, alone, and says so.

    classes: names of the labels that the listing has now.
    """
    try:
        rows = records.read_rows(record, split)
    except StoreDamaged:
        return "the store holds no sound rows of it: which images they are cannot be told"
    images = rows.view == 0
    is_sample = int(images.sum()) < record.n_listed
    changes = find_changes(rows, listing, stored=stored, classes=classes, is_sample=is_sample)
    found = changes.describe()
    if not is_sample:
        return found or _describe_beside(stored, listing, classes)
    held = f"of the {int(images.sum())} images that the store holds"
    return f"{found} ({held}; of others it cannot be told)" if found else f"none {held} is among them"


def _describe_beside(stored: Manifest, listing: Listing, classes: Sequence[str]) -> str:
    """What can differ of a split whose keys, labels and sizes do not."""
    if stored.classes != tuple(classes):
        return "the labels are numbered anew, because there are other classes"
    beside = ["targets"] * (listing.targets is not None) + [f"file or array, now {listing.facts}"] * bool(listing.facts)
    return f"not its rows, but its {' or its '.join(beside or ['targets'])}"


def find_changes(
    rows: RowTable, listing: Listing, *, stored: Manifest, classes: Sequence[str], is_sample: bool
) -> Changes:
    """Compares the rows of a store with a listing, by key; labels by the names of their classes.

    is_sample: the store holds the first rows in storage order alone; what was added is then known up to the last of
    those: whatever lies before it would have been among them.
    """
    images = np.flatnonzero(rows.view == 0).tolist()
    known = {rows.key[row]: row for row in images}
    present: set[str] = set()
    last = max((sort_key(key, seed=stored.seed) for key in known), default=None)
    changes = Changes()
    for key, label, n_bytes in listing.rows:
        row = known.get(key)
        if row is None:
            if not is_sample or (last is not None and sort_key(key, seed=stored.seed) < last):
                changes.added.append(key)
            continue
        present.add(key)
        if (then := int(rows.file_bytes[row])) != n_bytes:
            changes.changed.append(f"{key} ({then} bytes then, {n_bytes} now)")
        names = _name_label(int(rows.label[row]), stored.classes), _name_label(label, classes)
        if names[0] != names[1]:
            told = f"{names[0]} then" + (f", {_UNKNOWN}" if rows.label[row] < 0 and not n_bytes else "")
            changes.relabelled.append(f"{key} ({told}, {names[1]} now)")
    changes.removed = sorted(known.keys() - present)
    return changes


def _name_label(label: int, classes: Sequence[str]) -> str:
    return "no label" if label < 0 else classes[label] if label < len(classes) else str(label)


def _show_first(keys: list[str]) -> str:
    return ", ".join(keys[:N_KEYS]) + (", ..." if len(keys) > N_KEYS else "")
