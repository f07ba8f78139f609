"""The fused kernels, the torch transform and Kymatio's torch frontend on one CUDA device, alternately in one run.

    python -m tests.benchmarks.bench_gpu [--out docs/benchmarks/gpu.json]

128 RGB images a call, CUDA events, median of the rounds; inputs rotate among several sets, so that no cache holds them.
All take and give float32, but "fused, uint8 to float16", which does what extraction does. Kymatio takes large images in
parts of 32, for it holds every map of a batch at once. What cannot run here is left out, and the report says why.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import scatcache
from scatcache.scattering.fused import fused_obstacle, try_fused
from scatcache.spec import ScatteringSpec
from tests.benchmarks.machine import describe_machine

N_IMAGES, N_SETS, N_ROUNDS = 128, 3, 15
Call = Callable[[torch.Tensor, torch.Tensor], object]
HALF = "fused, uint8 to float16"
CASES = [(J, size) for J in (2, 3) for size in (32, 128, 224, 256)]


def time_call(call: Callable[[], object]) -> float:
    """Milliseconds of one call on the current stream."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def make_fused_calls(J: int, size: int) -> dict[str, Call]:
    """The fused kernels from float32 to float32, and as extraction calls them; empty where they do not run."""
    spec = ScatteringSpec(J=J)
    transform = try_fused(spec, (size, size), torch.device("cuda"), alone=False)
    if transform is None:
        return {}
    module = scatcache.Scattering2D(J, (size, size), backend="fused").cuda()
    out = torch.empty(N_IMAGES, *spec.output_shape(size, size), dtype=torch.float16, device="cuda")
    return {"fused": lambda x, _: module(x), HALF: lambda _, pixels: transform(pixels, out)}


def make_calls(J: int, size: int) -> dict[str, Call]:
    """What is compared, called with the same images as floats and as bytes.

    Kymatio is left out where it is not installed, the kernels where they do not run.
    """
    ours = scatcache.Scattering2D(J, (size, size), backend="torch").cuda()
    calls: dict[str, Call] = {**make_fused_calls(J, size), "torch_fft": lambda x, _: ours(x)}
    try:
        from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
    except ImportError:
        return calls
    theirs = ScatteringTorch2D(J, (size, size)).cuda()
    part = 32 if size > 32 else N_IMAGES
    calls["kymatio"] = lambda x, _: [theirs(piece.contiguous()) for piece in x.split(part)]
    return calls


def measure(J: int, size: int) -> dict[str, float]:
    """Median milliseconds by name, after one untimed round."""
    calls = make_calls(J, size)
    inputs = [torch.rand(N_IMAGES, 3, size, size, device="cuda") for _ in range(N_SETS)]
    pixels = [(x * 255).to(torch.uint8) for x in inputs]
    times: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for position in range(N_ROUNDS + 1):
            x, y = inputs[position % N_SETS], pixels[position % N_SETS]
            for name, call in calls.items():
                elapsed_ms = time_call(lambda call=call, x=x, y=y: call(x, y))
                if position:
                    times[name].append(elapsed_ms)
    return {name: statistics.median(values) for name, values in times.items()}


def find_extraction() -> dict[str, float | str]:
    """Rates of extraction at 224 px, or why it did not run: it needs more packages than the transform does."""
    try:
        from tests.benchmarks.gpu_extraction import measure_extraction
    except ImportError as error:
        return {"left out": str(error)}
    return measure_extraction("cuda")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/gpu.json"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench_gpu: torch finds no CUDA device on this machine", file=sys.stderr)
        return 2
    results = [{"J": J, "size": size, "ms": measure(J, size)} for J, size in CASES]
    extraction = find_extraction()
    report = {
        "machine": describe_machine(),
        "images": N_IMAGES,
        "fused": fused_obstacle() or ("ran" if any("fused" in result["ms"] for result in results) else "left to torch"),
        "results": results,
        "extraction": extraction,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{N_IMAGES} RGB images, milliseconds, median of {N_ROUNDS} (times Kymatio); fused: {report['fused']}")
    for result in results:
        kymatio = result["ms"].get("kymatio", math.nan)
        row = "  ".join(f"{name} {ms:9.3f} ({kymatio / ms:5.1f})" for name, ms in result["ms"].items())
        print(f"J={result['J']} {result['size']:3d} px  {row}")
    parts = (f"{name} {rate:.0f}" if isinstance(rate, float) else f"{name} {rate}" for name, rate in extraction.items())
    print("extraction at 224 px, images/s: " + ", ".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
