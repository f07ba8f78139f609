"""Records from JSON that nobody vouches for: every field's type and range checked by the dataclass's annotations."""

import functools
import math
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

# Counts, sizes, indices and checksums: a record holds no negative integer.
MAX_INTEGER = 2**64 - 1
# Of what an annotation leaves open (Any).
MAX_DEPTH = 8

Record = TypeVar("Record")


def build(kind: type[Record], values: Any) -> Record:
    """A dataclass from a JSON object, field by field as annotated.

    Annotations: int (0 to MAX_INTEGER), float (finite), str (encodable), bool, None, Any (JSON to MAX_DEPTH), unions of
    these, tuple[X, ...] and tuple[X, Y] from lists, dict[str, X], and dataclasses, by their from_dict where they have
    one. Raises KeyError for a missing field, TypeError for an unknown one, either or ValueError for what does not fit.
    """
    if type(values) is not dict:
        raise TypeError(f"{kind.__name__} is {_show(values)}, expected an object")
    hints, known = _hints(kind), {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := values.keys() - known.keys():
        raise TypeError(f"it has the unknown field {ascii(sorted(unknown)[0])[:60]}")
    built = {}
    for name, field in known.items():
        if name in values:
            built[name] = check(hints[name], values[name], name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(name)
    return kind(**built)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def check(annotation: Any, value: Any, name: str) -> Any:
    """The value as the annotation has it. Raises as build() does; name: of the field, for the message."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return _check_union(arguments, value, name)
    if origin is tuple:
        return _check_tuple(arguments, value, name)
    if origin is dict:
        if type(value) is not dict:
            raise TypeError(f"{name} is {_show(value)}, expected an object")
        return {check(str, key, name): check(arguments[1], entry, name) for key, entry in value.items()}
    if annotation is Any:
        _check_any(value, name, depth=0)
        return value
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation.from_dict(value) if hasattr(annotation, "from_dict") else build(annotation, value)
    return _check_plain(annotation, value, name)


def _check_plain(annotation: Any, value: Any, name: str) -> Any:
    wanted: Any = type(None) if annotation is None else annotation
    # Not isinstance: True is no count.
    if type(value) is not wanted:
        raise TypeError(f"{name} is {_show(value)}, expected {wanted.__name__}")
    if wanted is int and not 0 <= value <= MAX_INTEGER:
        raise ValueError(f"{name} is {_show(value)}, expected 0 to 2^64 - 1")
    if wanted is float and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a finite number")
    if wanted is str and not value.isascii():
        # A lone surrogate, which no file and no terminal takes: UnicodeEncodeError is a ValueError.
        value.encode("utf-8")
    return value


def _check_union(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in choices:
        return None
    rest = [choice for choice in choices if choice is not type(None)]
    for choice in rest[:-1]:
        try:
            return check(choice, value, name)
        except (KeyError, TypeError):
            continue
    return check(rest[-1], value, name)


def _check_tuple(arguments: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if type(value) is not list:
        raise TypeError(f"{name} is {_show(value)}, expected a list")
    if arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ValueError(f"{name} has {len(value)} entries, expected {len(arguments)}")
        return tuple(check(kind, entry, name) for kind, entry in zip(arguments, value, strict=True))
    # Thousands of numbers a receipt, and of digests a summary: these are checked all at once.
    if arguments[0] is float and set(map(type, value)) <= {float} and all(map(math.isfinite, value)):
        return tuple(value)
    if arguments[0] is str and set(map(type, value)) <= {str} and all(map(str.isascii, value)):
        return tuple(value)
    return tuple(check(arguments[0], entry, name) for entry in value)


def _check_any(value: Any, name: str, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {MAX_DEPTH} deep")
    if type(value) is dict:
        for key, entry in value.items():
            _check_plain(str, key, name)
            _check_any(entry, name, depth=depth + 1)
    elif type(value) is list:
        for entry in value:
            _check_any(entry, name, depth=depth + 1)
    elif value is not None:
        _check_plain(type(value), value, name)


def _show(value: Any) -> str:
    """A value, short: a huge integer has no decimal text at all."""
    if type(value) is int and value.bit_length() > 200:
        return "a huge integer"
    text = ascii(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
