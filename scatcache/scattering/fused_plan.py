"""What the fused kernels of one image shape are made of: source text, tables and launches, all of it plain NumPy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.filters import centering_ramp, filter_bank, lowpass_matrix, reflect_indices
from scatcache.scattering.fused_source import Table, write_source
from scatcache.scattering.radices import index_of_position, list_radices
from scatcache.spec import ScatteringSpec

LARGEST_PRIME = 31
# Taps below this part of an axis's largest one are left out: they are the ringing of Kymatio's cropped spectra.
NEGLIGIBLE_TAP = 1e-7
# Maps of order 2 in one group of angles have at most so many samples together, or there is one.
GROUP_SAMPLES = 4096
# Up to so many samples of a padded image 256 threads share a block, beyond 512.
SMALL_SAMPLES = 8192

ARGUMENTS = np.dtype(
    [(name, np.uint64) for name in ("images", "out", "spectra", "maps", "averages", "means", "tables", "indices")]
    + [(name, np.int64) for name in ("image_stride", "colour_stride", "row_stride", "column_stride")]
    + [*((name, np.int32) for name in ("n_colours", "sample_type", "is_half", "first_plane")), ("scale", np.float32)],
    align=True,  # as long as C++ makes it
)


@dataclass(frozen=True)
class Launch:
    """One kernel: its name, the C++ body it runs, blocks per plane, bytes of shared memory of a block."""

    name: str
    body: str
    blocks_per_plane: int
    shared_bytes: int


@dataclass(frozen=True)
class FusedPlan:
    """The kernels of a spec and shape. launches: in order, one stream; source: CUDA C++; tables, indices: constants.

    workspace: float32 elements per plane of the arguments spectra, maps, averages and means.
    """

    launches: tuple[Launch, ...]
    source: str
    tables: NDArray[np.float32]
    indices: NDArray[np.int32]
    workspace: dict[str, int]
    n_threads: int


class NoFusedPlan(ValueError):
    """The fused kernels do not cover a shape; the message says why."""


def plan_fused(spec: ScatteringSpec, shape: tuple[int, int], *, shared_bytes: int) -> FusedPlan:
    """The plan for images (H, W) on a device whose blocks may have shared_bytes of shared memory.

    Raises NoFusedPlan for J and sizes that the kernels do not cover, ValueError as spec.check_shape does.
    """
    padded = spec.padded_shape(*shape)
    if spec.J not in (2, 3):
        raise NoFusedPlan(f"the fused kernels compute J=2 and J=3, not J={spec.J}")
    for size in padded:
        largest = max(list_radices(size))
        if largest > LARGEST_PRIME:
            raise NoFusedPlan(
                f"images of {shape[0]}x{shape[1]} are padded to {size} pixels, which has the prime factor {largest}: "
                f"the fused kernels have primes up to {LARGEST_PRIME}"
            )
    sizes = _Sizes(spec, shape, padded)
    launches = _whole_launches(sizes)
    if _most_shared(launches) > shared_bytes:
        launches = _tiled_launches(sizes)
    if _most_shared(launches) > shared_bytes:
        raise NoFusedPlan(
            f"images of {shape[0]}x{shape[1]} need {_most_shared(launches)} bytes of shared memory in a block, this "
            f"device has {shared_bytes}"
        )
    constants = _Constants()
    _add_tables(constants, sizes)
    kernels = {launch.name: launch.body for launch in launches}
    source = write_source(_list_values(sizes), _list_functions(sizes, constants), kernels=kernels, lines=sizes.lines())
    workspace = _list_workspace(sizes, launches)
    return FusedPlan(launches, source, constants.tables, constants.indices, workspace, sizes.n_threads)


class _Sizes:
    """What the launches follow from; map_bytes(j): of a map in shared memory; averaged_bytes(j, n): of n maps' rows."""

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], padded: tuple[int, int]) -> None:
        self.spec, self.shape, self.padded = spec, shape, padded
        self.cells = (padded[0] // 2**spec.J - 2, padded[1] // 2**spec.J - 2)
        self.n_threads = 256 if padded[0] * padded[1] <= SMALL_SAMPLES else 512
        self.row_tile = max(n for n in range(2, 17, 2) if padded[0] % n == 0)
        self.column_tile = 16

    def at(self, res: int) -> tuple[int, int]:
        return self.padded[0] >> res, self.padded[1] >> res

    def lines(self) -> list[int]:
        """The lengths of the lines that are transformed."""
        return sorted({size for res in range(self.spec.J) for size in self.at(res)})

    def group(self, j: int) -> int:
        """Angles whose maps of order 2 at scale j are computed together."""
        rows, columns = self.at(j)
        fitting = [n for n in range(1, 9) if self.spec.L % n == 0 and n * rows * columns <= GROUP_SAMPLES]
        return max(fitting, default=1)

    def map_bytes(self, j: int) -> int:
        rows, columns = self.at(j)
        return 8 * rows * (columns | 1)

    def averaged_bytes(self, j: int, n_maps: int = 1) -> int:
        return 4 * self.cells[1] * (n_maps * self.at(j)[0] | 1)

    def second_bytes(self, j1: int) -> tuple[int, int]:
        """Of the maps of order 2 above j1, and of their averaged rows."""
        scales = range(j1 + 1, self.spec.J) if self.spec.max_order == 2 else range(0)
        maps = max((self.group(j) * self.map_bytes(j) for j in scales), default=0)
        return maps, max((self.averaged_bytes(j, self.group(j)) for j in scales), default=0)

    def tile_bytes(self) -> tuple[int, int]:
        """Of a tile of rows and of one of columns."""
        rows, columns = self.padded
        return 8 * self.row_tile * (columns | 1), 8 * rows * (self.column_tile | 1)


def _most_shared(launches: tuple[Launch, ...]) -> int:
    return max(launch.shared_bytes for launch in launches)


def _means_launch(sizes: _Sizes) -> Launch:
    return Launch("find_means", "means_body", 1, 4 * (sizes.n_threads + 16))


def _scatter_launch(sizes: _Sizes, j1: int) -> Launch:
    maps, averaged = sizes.second_bytes(j1)
    shared = sizes.map_bytes(j1) + maps + max(averaged, sizes.averaged_bytes(j1))
    return Launch(f"scatter_{j1}", f"scatter_body<{j1}>", sizes.spec.L, shared)


def _scales(spec: ScatteringSpec) -> range:
    return range(spec.J if spec.max_order else 0)


def _whole_launches(sizes: _Sizes) -> tuple[Launch, ...]:
    """Every map in shared memory."""
    image = Launch("image", "image_body", 1, sizes.map_bytes(0) + sizes.averaged_bytes(0))
    return (_means_launch(sizes), image, *(_scatter_launch(sizes, j1) for j1 in _scales(sizes.spec)))


def _tiled_launches(sizes: _Sizes) -> tuple[Launch, ...]:
    """Maps at full resolution in tiles, the others in shared memory."""
    rows_bytes, columns_bytes = sizes.tile_bytes()
    n_row_tiles, n_column_tiles = sizes.padded[0] // sizes.row_tile, -(-sizes.padded[1] // sizes.column_tile)
    n_half_tiles = -(-(sizes.padded[1] // 2 + 1) // sizes.column_tile)
    L = sizes.spec.L
    launches = [
        _means_launch(sizes),
        Launch("image_rows", "image_rows_body", n_row_tiles, rows_bytes),
        Launch("image_averages", "image_averages_body", 1, 0),
    ]
    if sizes.spec.max_order:
        launches += [
            Launch("image_columns", "image_columns_body", n_half_tiles, columns_bytes),
            Launch("first_columns", "first_columns_body", L * n_column_tiles, columns_bytes),
            Launch("first_rows", "first_rows_body", L * n_row_tiles, rows_bytes),
            Launch("first_averages", "first_averages_body", L, 0),
        ]
    if sizes.spec.max_order == 2:
        launches += [
            Launch("first_spectra", "first_spectra_body", L * n_half_tiles, columns_bytes),
            Launch("second", "second_body", L, sum(sizes.second_bytes(0))),
        ]
    return (*launches, *(_scatter_launch(sizes, j1) for j1 in _scales(sizes.spec)[1:]))


class _Constants:
    """Tables of float32 and int32, and the C++ functions that say where each begins."""

    def __init__(self) -> None:
        self._floats: list[NDArray[np.float32]] = []
        self._ints: list[NDArray[np.int32]] = []
        self._sizes = [0, 0]
        self.functions: dict[str, Table] = {}

    def define(self, function: str, arguments: tuple[int, ...], value: int) -> None:
        self.functions.setdefault(function, {})[arguments] = value

    def add_floats(self, function: str, arguments: tuple[int, ...], values: NDArray[Any]) -> None:
        """values are rounded to float32; complex ones become pairs. They begin on an even element."""
        values = np.ascontiguousarray(values)
        if np.iscomplexobj(values):
            values = np.stack([values.real, values.imag], axis=-1)
        self.define(function, arguments, self._sizes[0])
        padded = np.zeros(-(-values.size // 2) * 2, np.float32)
        padded[: values.size] = values.ravel()
        self._floats.append(padded)
        self._sizes[0] += padded.size

    def add_ints(self, function: str, arguments: tuple[int, ...], values: NDArray[Any]) -> None:
        """values begin on an even element."""
        self.define(function, arguments, self._sizes[1])
        padded = np.zeros(-(-values.size // 2) * 2, np.int32)
        padded[: values.size] = values.ravel()
        self._ints.append(padded)
        self._sizes[1] += padded.size

    @property
    def tables(self) -> NDArray[np.float32]:
        return np.concatenate(self._floats)

    @property
    def indices(self) -> NDArray[np.int32]:
        return np.concatenate(self._ints)


def _add_tables(constants: _Constants, sizes: _Sizes) -> None:
    spec, padded = sizes.spec, sizes.padded
    for size in sizes.lines():
        constants.add_floats("roots_offset", (size,), np.exp(-2j * np.pi * np.arange(size) / size))
    gains = []
    for axis in range(2):
        reflected = reflect_indices(sizes.shape[axis], padded[axis])
        constants.add_ints("source_offset", (axis,), reflected[index_of_position(padded[axis])])
        for res in range(spec.J if spec.max_order else 1):
            positions, weights = _take_taps(lowpass_matrix(spec, padded[axis], res))
            # Pairs of a position and the bits of a weight.
            taps = np.stack([positions.astype(np.int32), weights.astype(np.float32).view(np.int32)], axis=-1)
            constants.add_ints("taps_offset", (axis, res), taps)
            constants.define("n_taps", (axis, res), positions.shape[1])
            if res == 0:
                gains.append(weights.astype(np.float32).sum(axis=1, dtype=np.float64))
    constants.add_floats("gains_offset", (), np.concatenate(gains))
    if spec.max_order:
        _add_wavelets(constants, sizes)


def _add_wavelets(constants: _Constants, sizes: _Sizes) -> None:
    spec = sizes.spec
    bank = filter_bank(spec, sizes.padded)
    for j in range(spec.J):
        rows, columns = sizes.at(j)
        for res in range(max(j, 1) if spec.max_order == 2 else 1):
            # The inverse FFT's 1 / (n1 n2), and the mean over aliases.
            scale = 1 / (rows * columns * 4 ** (j - res))
            constants.add_floats("psi_offset", (j, res), np.asarray(bank.psi[j][res], np.float64) * scale)
            ramps = [centering_ramp(spec, size, j - res) for size in sizes.at(res)]
            constants.add_floats("ramps_offset", (res, j), np.concatenate(ramps))


def _take_taps(matrix: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions and weights (n_cells, n_taps) of the taps that count; shorter rows are filled with zeros."""
    counts = np.abs(matrix) > NEGLIGIBLE_TAP * np.abs(matrix).max()
    n_taps = int(counts.sum(axis=1).max())
    position_of_index = np.argsort(index_of_position(matrix.shape[1]))
    positions = np.zeros((len(matrix), n_taps), np.int64)
    weights = np.zeros((len(matrix), n_taps))
    for cell, counted in enumerate(counts):
        indices = np.flatnonzero(counted)
        positions[cell, : len(indices)] = position_of_index[indices]
        weights[cell, : len(indices)] = matrix[cell, indices]
    return positions, weights


def _list_values(sizes: _Sizes) -> dict[str, int | bool]:
    """The constants of the kernels by name."""
    spec = sizes.spec
    return {
        "J": spec.J, "L": spec.L, "MAX_ORDER": spec.max_order, "N_PATHS": spec.n_paths, "N_THREADS": sizes.n_threads,
        "HEIGHT": sizes.shape[0], "WIDTH": sizes.shape[1], "CELLS_HIGH": sizes.cells[0], "CELLS_WIDE": sizes.cells[1],
        "PADDED_HEIGHT": sizes.padded[0], "PADDED_WIDTH": sizes.padded[1],
        "ROW_TILE": sizes.row_tile, "COLUMN_TILE": sizes.column_tile, "IS_CENTERED": spec.is_centered,
    }  # fmt: skip


def _list_functions(sizes: _Sizes, constants: _Constants) -> dict[str, Table]:
    """The functions of integers that the kernels call, as tables."""
    groups: Table = {(j,): sizes.group(j) for j in range(1, sizes.spec.J)}
    # Where no wavelet has set them.
    unused: dict[str, Table] = {name: {(0, 0): 0} for name in ("psi_offset", "ramps_offset")}
    return {**unused, **constants.functions, "group_of": groups}


def _list_workspace(sizes: _Sizes, launches: tuple[Launch, ...]) -> dict[str, int]:
    """FusedPlan.workspace."""
    spec, (rows, columns) = sizes.spec, sizes.padded
    tiled = any(launch.name == "image_rows" for launch in launches)
    return {
        "spectra": 2 * rows * (columns // 2 + 1) if spec.max_order else 0,
        "maps": 2 * rows * columns * spec.L if tiled and spec.max_order else 0,
        "averages": sizes.cells[1] * rows * (spec.L if spec.max_order else 1) if tiled else 0,
        "means": 1,
    }
