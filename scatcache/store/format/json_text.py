"""JSON of which one value has one text: what digests are made of."""

import json
from typing import Any


def to_json(value: Any, *, indent: int | None = None, allow_nan: bool = False) -> bytes:
    """One value has one text: keys sorted, ASCII only, a newline at the end.

    allow_nan: for what other programs put among our metadata; nothing of ours holds NaN.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, sort_keys=True, indent=indent, separators=separators, allow_nan=allow_nan)
    return text.encode("ascii") + b"\n"


def parse_json(data: bytes) -> Any:
    """The value of a JSON text; NaN and Infinity pass. Raises ValueError for what is none, or nested without end."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
