"""A table of options: a dataclass whose fields say range, default and help, from which checks and texts come."""

import math
import operator
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, SupportsFloat

from scatcache.errors import UsageError
from scatcache.spec import MAX_SEED

TEXT_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field of a table. help: without range and default; default: what holds where it is not given; otherwise: that
    in words, where it is computed; within: first and last number; above: it is a real number beyond this one; words:
    what else than a number; choices: the only texts, or what finds them; metavar: of its value on the command line;
    stored: a setting's place in a Manifest, dotted; in_python: it is no option of the command line; name, is_flag,
    optional, repeated: of the field itself."""

    help: str
    default: Any = None
    otherwise: str = ""
    within: tuple[int, int] | None = None
    above: float | None = None
    words: tuple[str, ...] = ()
    choices: tuple[str, ...] | Callable[[], Sequence[str]] = ()
    metavar: str | None = None
    stored: str = ""
    in_python: bool = False
    name: str = ""
    is_flag: bool = False
    optional: bool = False
    repeated: bool = False

    @property
    def spelling(self) -> str:
        """As typed on a command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def known(self) -> tuple[str, ...]:
        """The texts that it may be, where these are few."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def range(self) -> str:
        """Its numbers in words; "" where it has none, or all there are."""
        if self.above is not None:
            return f"above {self.above:g}"
        if self.within is None:
            return ""
        low, high = self.within
        return f"from {low}" if high == MAX_SEED else f"{low} to {high}"

    @property
    def shown_default(self) -> str:
        return self.otherwise or ("" if self.default is None or self.default is False else str(self.default))

    @property
    def expected(self) -> str:
        """What check() takes, in words."""
        if self.above is not None:
            return f"a number {self.range}"
        if self.within is None:
            return f"one of {', '.join(self.known)}"
        number = f"an integer {self.range}" if self.range.startswith("from") else f"an integer from {self.range}"
        return " or ".join([number, *map(repr, self.words)])

    def describe(self, *, choices: bool = True) -> str:
        """Its help with its range and default, and the texts that it may be."""
        default = self.shown_default and f"default: {self.shown_default}"
        told = "; ".join(filter(None, [", ".join(self.known) if choices else "", self.range, default]))
        return f"{self.help}  [{told}]" if told else self.help

    def parse(self, text: str) -> Any:
        """The value that a text on the command line means. Raises UsageError."""
        if (self.within is None and self.above is None) or text in self.words:
            return self.check(text)
        try:
            number = float(text) if self.within is None else int(text)
        except ValueError as error:
            raise UsageError(f"{self.name} is {text!r}: expected {self.expected}") from error
        return self.check(number)

    def check(self, value: Any) -> Any:
        """The value, a NumPy integer as Python's. Raises UsageError for one out of range, TypeError for no number."""
        if (value is None and self.optional) or (isinstance(value, str) and value in self.words):
            return value
        if self.above is not None:
            return self._check_real(value)
        if self.within is None:
            if self.choices and value not in self.known:
                raise UsageError(f"{self.name} is {value!r}: expected {self.expected}")
            return value
        try:
            number = operator.index(value)
        except TypeError as error:
            raise TypeError(f"{self.name} is {value!r}: expected {self.expected}") from error
        if not self.within[0] <= number <= self.within[1]:
            raise UsageError(f"{self.name} is {number}: expected {self.expected}")
        return number

    def _check_real(self, value: Any) -> float:
        assert self.above is not None
        if isinstance(value, bool | str) or not isinstance(value, SupportsFloat):
            raise TypeError(f"{self.name} is {value!r}: expected {self.expected}")
        if not self.above < (number := float(value)) < math.inf:
            raise UsageError(f"{self.name} is {number:g}: expected {self.expected}")
        return number


def option(help: str, **facts: Any) -> Any:
    """A field with its default, for what never shapes a store's bytes. facts: of Option."""
    entry = Option(help=help, **facts)
    return field(default=entry.default, metadata={"option": entry})


def setting(help: str, *, stored: str, **facts: Any) -> Any:
    """A field that is None until it is merged with what a store has, or with its default. facts: of Option."""
    return field(default=None, metadata={"option": Option(help=help, stored=stored, **facts)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """A table: every field is an option() or a setting(), and is checked when it is given."""

    def __post_init__(self) -> None:
        for entry in list_options(type(self)):
            object.__setattr__(self, entry.name, entry.check(getattr(self, entry.name)))


def list_options(kind: type[Options]) -> tuple[Option, ...]:
    """The options of a table, in its order."""
    return tuple(_complete(entry.metadata["option"], entry.name, entry.type) for entry in fields(kind))


def _complete(entry: Option, name: str, annotation: Any) -> Option:
    """An option with what its field's name and annotation say."""
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    members = typing.get_args(annotation) if is_union else (annotation,)
    repeated = any(typing.get_origin(member) is Sequence for member in members)
    optional = type(None) in members
    return replace(entry, name=name, is_flag=annotation is bool, optional=optional, repeated=repeated)


def describe(kind: type[Options]) -> str:
    """Every option of a table with its help, for a docstring."""
    return "\n".join(_describe_lines(kind))


def _describe_lines(kind: type[Options]) -> Iterator[str]:
    for entry in list_options(kind):
        text = f"{entry.name}: {' '.join(entry.describe().split())}"
        yield textwrap.fill(text, TEXT_WIDTH, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
