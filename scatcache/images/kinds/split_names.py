"""Names of splits: those that are known, and what looks like one in another spelling."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

SPLIT_NAMES = ("train", "val", "valid", "test", "unlabeled")
# The known name that a word stands for.
_WORDS = {
    "unlabell?ed": "unlabeled",
    "train(?:ing)?": "train",
    "val|valid(?:at(?:e|ion))?|dev(?:el|elopment)?|eval(?:uation)?|holdout": "val",
    "test(?:ing|s)?": "test",
}
_WORD = "(?:" + "|".join(f"(?:{words})" for words in _WORDS) + ")"
# What people write around it, digits and punctuation aside. None is made of others, so that a name parts in one way.
_AROUND = "(?:set|split|sub|data|folder|dir|part|fold|images?|imgs?|pics?|pictures?|photos?|my|new|final|official)"
_LOOKS = re.compile(f"{_AROUND}*(?:{_WORD}{_AROUND}*)+[ab]?")


class LooksLike(NamedTuple):
    """What a name that looks like a split's reads as: a known split's name, and what else the name is made of."""

    split: str
    rest: str


def read_split_name(name: str) -> LooksLike | None:
    """How a folder's name reads as a split's, in any spelling: `Train`, `test_set`, `val2017`; None where it does not.

    A name may hold other words beside a split's, such as `dogs_train`; whether that is one shows beside others only.
    """
    # Digits and punctuation part words and say nothing else.
    words = re.sub(r"[\W\d_]+", " ", unicodedata.normalize("NFKC", name).casefold()).split()
    if _LOOKS.fullmatch("".join(words)):
        return LooksLike(_find_split("".join(words)), "")
    found = [word for word in words if _LOOKS.fullmatch(word) and re.search(_WORD, word)]
    rest = " ".join(word for word in words if word not in found and not re.fullmatch(_AROUND, word))
    return LooksLike(_find_split(found[0]), rest) if found else None


def find_split_names(names: Sequence[str]) -> dict[str, str]:
    """Those of the names that look like splits, each with the known name that it reads as.

    `dogs_train` looks like one beside `dogs_test`, and not by itself: what is beside the split's word must be the same,
    of at least two splits.
    """
    read = {name: like for name in names if (like := read_split_name(name)) is not None}
    splits: dict[str, set[str]] = {}
    for like in read.values():
        splits.setdefault(like.rest, set()).add(like.split)
    return {name: like.split for name, like in read.items() if not like.rest or len(splits[like.rest]) > 1}


def suggest_renames(found: dict[str, str]) -> str:
    """What to rename to what, as in "Train to train"; "" where two names read as the same split.

    found: what find_split_names returns, of names that are all of one folder.
    """
    targets: dict[str, str] = {}
    for name, split in found.items():
        exact = name if name in SPLIT_NAMES else split
        targets[name] = "valid" if exact == "val" and "val" in targets.values() else exact
    if len({*targets.values()}) < len(targets):
        return ""
    return ", ".join(f"{name} to {target}" for name, target in targets.items() if name != target)


def _find_split(word: str) -> str:
    """The split that comes first in a word made of splits' names and what stands around them."""
    starts = {split: match.start() for words, split in _WORDS.items() if (match := re.search(words, word))}
    return min(starts, key=lambda split: starts[split])
