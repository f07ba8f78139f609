"""Specs and shapes that every implementation is compared on."""

from scatcache.spec import ScatteringSpec

# (spec, shape): odd L, one angle, 2^J == M, sizes around multiples of 2^J, non-square, every max_order.
GRID = [
    (ScatteringSpec(J=2), (32, 32)),
    (ScatteringSpec(J=2), (28, 28)),
    (ScatteringSpec(J=2), (30, 30)),
    (ScatteringSpec(J=2), (33, 33)),
    (ScatteringSpec(J=2, max_order=1), (31, 29)),
    (ScatteringSpec(J=2), (35, 30)),
    (ScatteringSpec(J=2), (65, 70)),
    (ScatteringSpec(J=1), (7, 9)),
    (ScatteringSpec(J=2, L=4), (4, 9)),
    (ScatteringSpec(J=3, L=7), (31, 29)),
    (ScatteringSpec(J=3, L=3, max_order=1), (8, 8)),
    (ScatteringSpec(J=3, L=8, max_order=0), (35, 30)),
    (ScatteringSpec(J=4, L=2), (33, 47)),
    (ScatteringSpec(J=4, L=5), (16, 20)),
    (ScatteringSpec(J=5, L=1), (32, 70)),
]


def grid_name(value: object) -> str:
    if isinstance(value, ScatteringSpec):
        return f"J{value.J}-L{value.L}-m{value.max_order}"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
