"""The source text of the fused kernels for one image shape: a preamble of constants, then the files of kernels/.

kernels/*.cuh and scattering.cu are compiled once per shape: the compiler knows the sizes, unrolls loops and folds index
arithmetic. The same text compiles for the CPU, where the tests run it thread by thread.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.scattering.radices import first_radix, list_blocks

FOLDER = Path(__file__).parent / "kernels"
SOURCES = ("complex.cuh", "butterflies.cuh", "fft.cuh", "phases.cuh", "scattering.cu")
# A function of integers: its value by its arguments.
Table = dict[tuple[int, ...], int]


def write_source(
    values: Mapping[str, int | bool],
    functions: Mapping[str, Table],
    *,
    kernels: Mapping[str, str],
    lines: Sequence[int],
) -> str:
    """CUDA C++ with these constants and functions; kernels: the body of each by its name; lines: what FFTs are over."""
    blocks = {block for size in lines for block in list_blocks(size)}
    functions = {**functions, "radix_of": {(block,): first_radix(block) for block in blocks}}
    primes = sorted({first_radix(block) for block in blocks} - {2, 4, 8})
    defined = " ".join(f"KERNEL({name}, {body})" for name, body in kernels.items())
    return "\n".join(
        [_write_constant(name, value) for name, value in values.items()]
        + [f"#define SCATCACHE_KERNELS(KERNEL) {defined}"]
        + ["#if !defined(__CUDACC__)", "#define __device__", "#endif"]
        + [_write_function(name, table) for name, table in sorted(functions.items())]
        + [f"template <int R> __device__ constexpr float {name}(int i);" for name in ("cosine", "sine")]
        + [_write_trigonometry(name, prime) for prime in primes for name in ("cosine", "sine")]
        + [_read_source(name) for name in SOURCES]
    )


def _write_constant(name: str, value: int | bool) -> str:
    if isinstance(value, bool):
        return f"constexpr bool {name} = {'true' if value else 'false'};"
    return f"constexpr int {name} = {value};"


def _write_function(name: str, table: Table) -> str:
    """A constexpr function of integers as C++; -1 for arguments that are not in the table."""
    n_arguments = len(next(iter(table)))
    parameters = ", ".join(f"int a{i}" for i in range(n_arguments))
    if n_arguments == 0:
        return f"__device__ constexpr int {name}() {{ return {table[()]}; }}"
    cases = "".join(
        " && ".join(f"a{i} == {argument}" for i, argument in enumerate(arguments)) + f" ? {value} : "
        for arguments, value in sorted(table.items())
    )
    return f"__device__ constexpr int {name}({parameters}) {{ return {cases}-1; }}"


def _write_trigonometry(name: str, prime: int) -> str:
    function: Callable[[Any], Any] = {"cosine": np.cos, "sine": np.sin}[name]
    values = ", ".join(f"{value:.9e}f" for value in function(2 * np.pi * np.arange(prime) / prime))
    return (
        f"template <> __device__ constexpr float {name}<{prime}>(int i) "
        f"{{ constexpr float table[] = {{{values}}}; return table[i]; }}"
    )


def _read_source(name: str) -> str:
    """The text of a file of the kernels without what ties it to the others, which stand before it."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith(('#include "', "#pragma once")))
