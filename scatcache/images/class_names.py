"""What class names must be so that labels say something: told apart by a person, and those of train in every split.

All names come escaped, as labels have them.
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

from scatcache.errors import SourceError

# Names shown of many.
N_SHOWN = 3


def fold_name(name: str) -> str:
    """What a person sees of a name: canonically composed, case, invisible characters and kinds of blanks aside."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    visible = "".join(character for character in composed if unicodedata.category(character) != "Cf")
    return " ".join(visible.split())


def find_alike(names: Iterable[str]) -> list[str]:
    """The first two or more different names that a person sees as one, [] where there are none."""
    seen: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        seen.setdefault(fold_name(name), []).append(name)
    return next((alike for alike in seen.values() if len(alike) > 1), [])


def refuse_alike(where: str, by_split: Mapping[str, Collection[str]]) -> None:
    """Raises SourceError for two class names, of one split or of two, that a person sees as one.

    where: the dataset, for the message; by_split: each split's names; where there is one split it is not named.
    """
    alike = find_alike(name for names in by_split.values() for name in names)
    if not alike:
        return
    shown = []
    for name in alike:
        splits = [split for split, names in by_split.items() if name in names]
        shown.append(ascii(name) + (f" in {', '.join(splits)}" if len(by_split) > 1 else ""))
    raise SourceError(
        f"{where}: the classes {' and '.join(shown)} are one name to the eye and two labels: they differ only in case, "
        f"in how accents are written (NFC, NFD), or in blanks and invisible characters: give both the same name, or "
        f"merge them"
    )


def check_splits(
    called: Mapping[str, str], by_split: Mapping[str, Collection[str]], hints: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """What to warn of: classes that train lacks, and splits without classes beside those that have some.

    called: each split as messages call it; by_split: its classes, none where its images have no label; hints: by split,
    what says the classes of its images. A source without train is compared with its first split that has classes.
    Raises SourceError for a split that has no class of train: its labels would say nothing.
    """
    labelled = [split for split in by_split if split != "unlabeled"]
    with_classes = [split for split in labelled if by_split[split]]
    if not with_classes:
        return ()
    reference = "train" if "train" in labelled else with_classes[0]
    known = {*by_split[reference]}
    warnings = [f"{called[split]} holds no class folders: its rows have the label -1"
                for split in labelled if not by_split[split]]  # fmt: skip
    for split in with_classes:
        lacking = {*by_split[split]} - known
        if not lacking:
            continue
        found = f"{called[split]} holds {count_classes(lacking)} that {reference} lacks"
        if reference == "train" and lacking == {*by_split[split]}:
            raise SourceError(f"{found} and shares none with it: {_advise(split, known, (hints or {}).get(split))}")
        warnings.append(found)
    return tuple(warnings)


def tell_unknown_labels(split: str, labels: Collection[int], undecoded: Sequence[int]) -> tuple[str, ...]:
    """A warning of items that lost their label with their image, where other items of the split have one."""
    if not undecoded or max(labels) < 0:
        return ()
    items = f"item {undecoded[0]}" if len(undecoded) == 1 else f"{len(undecoded):,} items (the first is {undecoded[0]})"
    return (
        f"{split}: the label of {items} is unknown, -1 in the store, because only an item that decodes says it; "
        f"retry_unreadable cannot mend that: make the items decode and extract anew, or give the dataset `targets`, "
        f"the labels of all items",
    )


def _advise(split: str, known: Collection[str], hint: str | None) -> str:
    """What to do about a split that shares no class with train."""
    if not known:
        return "sort the images of train into class folders too, or rename train to unlabeled"
    told = f" as {hint} says" if hint else ""
    return (
        f"its labels would say nothing: sort its images into the classes of train ({show_names(known)}){told}, or "
        f"rename {split} to unlabeled"
    )


def count_classes(names: Collection[str]) -> str:
    """ "1 class (cat)", "7 classes (ant, bee, cat, ...)"."""
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({show_names(names)})"


def show_names(names: Collection[str]) -> str:
    """The first of the names."""
    return ", ".join(sorted(names)[:N_SHOWN]) + (", ..." if len(names) > N_SHOWN else "")
