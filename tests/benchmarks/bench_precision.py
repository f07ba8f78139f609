"""Errors in float32 against the float64 reference, on photographs: Kymatio's torch frontend and each native core.

    python -m tests.benchmarks.bench_precision [--sizes 32,128] [--J 2] [--images 6]

||found - reference|| / ||reference|| over all channels together and order by order, in units of 1e-7.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.native.transform import NativeTransform
from scatcache.scattering.paths import path_table
from scatcache.scattering.reference import scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.native.cores import CORES_HERE, coefficients_of, photographs
from tests.scattering.oracle import kymatio_in_float32
from tests.scattering.tolerances import relative_error

SIZES = (32, 33, 64, 96, 128, 224, 256)


def list_errors(found: NDArray[np.floating], expected: NDArray[np.float64], spec: ScatteringSpec) -> list[float]:
    """Of all paths, then of each order."""
    order = path_table(spec)["order"]
    orders = [relative_error(found[:, order == m], expected[:, order == m]) for m in range(spec.max_order + 1)]
    return [relative_error(found, expected), *orders]


def measure(size: int, spec: ScatteringSpec, n_images: int) -> dict[str, list[float]]:
    images = photographs(n_images, (size, size))
    expected = scattering2d(images[:, 0].astype(np.float64), spec)
    found = {"kymatio-torch": kymatio_in_float32(images[:, 0], spec)}
    for core in CORES_HERE:
        found[core] = coefficients_of(NativeTransform(spec, (size, size), core=core), images)
    return {name: list_errors(coefficients, expected, spec) for name, coefficients in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--J", type=int, default=2)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    print("| px | implementation | all | order 0 | order 1 | order 2 |\n|---|---|---|---|---|---|")
    for size in map(int, options.sizes.split(",")):
        for name, errors in measure(size, ScatteringSpec(J=options.J), options.images).items():
            print(f"| {size} | {name} | " + " | ".join(f"{1e7 * error:.2f}" for error in errors) + " |")


if __name__ == "__main__":
    main()
