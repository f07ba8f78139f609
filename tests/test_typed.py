from dataclasses import dataclass, field
from typing import Any

import pytest

from scatcache.typed import MAX_DEPTH, build


@dataclass(frozen=True)
class Inner:
    row: int


@dataclass(frozen=True)
class Outer:
    n: int
    share: float
    name: str
    official: bool | None
    crcs: tuple[int | None, ...]
    sums: tuple[float, ...]
    shape: tuple[int, int] | None
    inner: tuple[Inner, ...]
    notes: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


VALUES = {
    "n": 3,
    "share": 0.5,
    "name": "é",
    "official": None,
    "crcs": [1, None],
    "sums": [0.0, -1.5],
    "shape": [2, 3],
    "inner": [{"row": 7}],
}


def nest(depth: int) -> Any:
    return [nest(depth - 1)] if depth else 0


def test_fields_come_as_annotated():
    expected = Outer(3, 0.5, "é", None, (1, None), (0.0, -1.5), (2, 3), (Inner(7),))
    assert build(Outer, VALUES) == expected
    more = {"notes": {"cut": 2}, "options": {"deep": nest(MAX_DEPTH - 2), "on": True, "share": 1.5}}
    assert build(Outer, {**VALUES, **more}).notes == {"cut": 2}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", value) for value in (True, -1, 2**64, 10**400, 1.0, "3", None, [], {})),
        *(("share", value) for value in (1, float("nan"), float("inf"), "0.5", None)),
        *(("name", value) for value in (7, None, b"x", "\ud800")),
        *(("official", value) for value in (1, 0, "yes")),
        *(("crcs", value) for value in ([True], [-1], [1.5], "12", None, {"0": 1})),
        *(("sums", value) for value in ([1], [float("nan")], [None], [[]], 0.5)),
        *(("shape", value) for value in ([2], [2, 3, 4], [2, None], "23")),
        *(("inner", value) for value in ([{}], [{"row": "7"}], [7], [{"row": 7, "more": 1}], {})),
        *(("notes", value) for value in ([], {"cut": -1}, {"cut": True}, {"\ud800": 1})),
        *(("options", value) for value in ({"deep": nest(MAX_DEPTH + 1)}, {"x": float("inf")}, {"x": -1}, None)),
        ("surprise", 1),
    ],
)
def test_what_does_not_fit_is_refused(name, value):
    with pytest.raises((KeyError, TypeError, ValueError)) as caught:
        build(Outer, {**VALUES, name: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", VALUES)
def test_a_missing_field_is_refused(name):
    with pytest.raises(KeyError):
        build(Outer, {key: value for key, value in VALUES.items() if key != name})


@pytest.mark.parametrize("values", [None, [], 7, "x"])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(TypeError):
        build(Outer, values)
