"""What each encoding and reduction costs: bytes, error, speed on one core, and the rate of the whole command.

    python -m tests.benchmarks.bench_encodings --cifar10 ROOT --imagenet FOLDER [--rounds 3] [--out JSON]

Of each dataset a sample is transformed (J=2), encoded and decoded, the encodings in turns; speeds are in CPU time of
one core. Then `scatcache extract` runs as a user types it, in turns with the transform alone on as many threads. --skip
commands leaves these out. --accuracy adds what pipelines.encoding_accuracy reported.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.images.decode import decode
from scatcache.job.calibration import find_steps
from scatcache.job.stages import encode_row
from scatcache.resources import count_cores
from scatcache.scattering.batched import open_transform
from scatcache.scattering.paths import channel_table
from scatcache.scattering.quantisation import restore
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import DEFAULT_STEP, ENCODINGS, QUANTISED, Calibration, Encoding
from tests.benchmarks.bench_extract import Case, empty_folder, read_sample, time_transform
from tests.benchmarks.machine import describe_machine
from tests.images.parts import read_key

SPEC = ScatteringSpec(J=2)
STEPS = (0.2, 0.4, 0.45, 0.5)
# Of ImageNet at 224 an image has as many coefficients as fifty of CIFAR-10.
N_SAMPLE = {"cifar10": 400, "imagenet": 32}
COMMANDS = {
    "float16": (),
    "quantised": ("--encoding", "quantised"),
    "quantised-zstd": ("--encoding", "quantised-zstd"),
    "pool 1": ("--pool", "1"),
    "angles mean": ("--angles", "mean"),
}


def main() -> None:
    options = parse()
    cases = [
        Case("cifar10", "cifar10", options.cifar10, None, options.limit),
        Case("imagenet", str(options.imagenet), None, 224, None),
    ]
    report: dict[str, Any] = {"machine": describe_machine(), "rounds": options.rounds, "datasets": {}, "commands": {}}
    if options.accuracy is not None:
        content = json.loads(options.accuracy.read_text())
        report["accuracy"] = {"command": content["command"], "commit": content["commit"], **content["summary"]}
    for case in cases:
        report["datasets"][case.name] = measure_encodings(case, options.rounds)
        print(show_encodings(case.name, report["datasets"][case.name]), flush=True)
    for case in [] if options.skip == "commands" else cases:
        report["commands"][case.name] = measure_commands(case, options.rounds)
        print(json.dumps({case.name: report["commands"][case.name]["ratios"]}), flush=True)
    if options.out is not None:
        text = json.dumps(report, indent=1)
        for path in (options.cifar10, options.imagenet):
            text = text.replace(str(path), path.name)
        options.out.write_text(text + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="folder of the CIFAR-10 archives")
    parser.add_argument("--imagenet", type=Path, required=True, help="class folders of photographs")
    parser.add_argument("--limit", type=int, help="images per split of CIFAR-10 for the commands")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", choices=["commands"])
    parser.add_argument("--accuracy", type=Path, help="encoding_accuracy.json")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def list_arms(coefficients: np.ndarray) -> Iterator[tuple[str, Encoding]]:
    """Every encoding by its name, quantised ones with their step, in both types."""
    wide = coefficients.astype(np.float64)
    means, square_means = wide.mean((0, 2, 3)), np.square(wide).mean((0, 2, 3))
    for name, encoding in ENCODINGS.items():
        if not encoding.quantised:
            yield name, encoding
            continue
        for step in STEPS:
            for dtype in ("int8", "int16") if name == QUANTISED else ("int8",):
                steps = find_steps(step, means, square_means)
                yield f"{name} {step:g} {dtype}", encoding.calibrated(Calibration.of(step, steps, dtype=dtype))


def measure_encodings(case: Case, rounds: int) -> dict[str, dict[str, Any]]:
    """Bytes per coefficient, RMS error of each order over the channels' deviations, coefficients per second."""
    source, split, keys = read_sample(case)
    keys = (keys * 8)[: N_SAMPLE[case.name]] if len(keys) < N_SAMPLE[case.name] else keys[: N_SAMPLE[case.name]]
    images = np.stack([decode(read_key(source, split, key), size=case.size) for key in keys])
    transform = open_transform(SPEC, images.shape[1:3])
    coefficients = np.empty((len(images), *transform.output_shape), np.float32)
    for start in range(0, len(images), transform.batch_images):
        stop = start + transform.batch_images
        transform(images[start:stop], coefficients[start:stop])
    arms = dict(list_arms(coefficients))
    found: dict[str, dict[str, Any]] = {name: measure_error(coefficients, arm) for name, arm in arms.items()}
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arms}
    found[f"entropy at {DEFAULT_STEP:g}"] = measure_entropies(coefficients, DEFAULT_STEP)
    for _ in range(rounds):
        for name, arm in arms.items():
            times[name].append(time_arm(coefficients, arm))
    for name in arms:
        best = [coefficients.size / 1e9 / min(each[i] for each in times[name]) for i in range(3)]
        names = ("encode_gcoef_s", "decode_gcoef_s", "restore_gcoef_s")
        found[name] |= dict(zip(names, (round(value, 3) for value in best), strict=True))
    return found


def measure_error(coefficients: np.ndarray, arm: Encoding) -> dict[str, Any]:
    encoded = [arm.encode(encode_row(row, arm)) for row in coefficients]
    decoded = arm.empty(len(coefficients), coefficients.shape[1:])
    for (data, crc), out in zip(encoded, decoded, strict=True):
        arm.decode(memoryview(data), out, crc=crc)
    values = decoded.astype(np.float64) if arm.steps is None else restore(decoded, arm.steps).astype(np.float64)
    deviation = coefficients.astype(np.float64).std((0, 2, 3))
    error = np.sqrt(np.square(values - coefficients).mean((0, 2, 3))) / deviation
    order = channel_table(SPEC)["order"]
    return {
        "bytes_per_coefficient": round(sum(len(data) for data, _ in encoded) / coefficients.size, 4),
        "rms_error_by_order": [float(f"{error[order == m].mean():.3g}") for m in range(3)],
    }


def time_arm(coefficients: np.ndarray, arm: Encoding) -> tuple[float, float, float]:
    """CPU seconds to encode all rows as they come from the transform, to decode them, and to make them float32."""
    clock = [time.thread_time()]
    encoded = [arm.encode(encode_row(row, arm)) for row in coefficients]
    clock.append(time.thread_time())
    out = arm.empty(1, coefficients.shape[1:])
    for data, crc in encoded:
        arm.decode(memoryview(data), out, crc=crc)
    clock.append(time.thread_time())
    decoded = arm.empty(len(coefficients), coefficients.shape[1:])
    clock[2] = time.thread_time()
    _ = decoded.astype(np.float32) if arm.steps is None else restore(decoded, arm.steps)
    clock.append(time.thread_time())
    encode_s, decode_s, restore_s = np.diff(clock).tolist()
    return encode_s, decode_s, restore_s


def measure_commands(case: Case, rounds: int) -> dict[str, Any]:
    """Images/s of the job of each command and of the transform alone, and medians of ratios within a round."""
    source, split, keys = read_sample(case)
    images = np.stack([decode(read_key(source, split, key), size=case.size) for key in keys])
    results: list[dict[str, float]] = []
    n_bytes: dict[str, float] = {}
    for _ in range(rounds):
        result = {"transform alone": time_transform(images, count_cores())}
        for name, more in COMMANDS.items():
            with empty_folder() as folder:
                command = [sys.executable, "-m", "scatcache.commands", "extract", *case.arguments, *more]
                command += ["--out", str(folder / "store.zarr"), "--json", "-q"]
                done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                result[name] = done["images_per_s"]
                n_bytes[name] = done["bytes"] / sum(entry["rows"] for entry in done["splits"].values())
        results.append(result)
    of = [(f"{name} / {base}", name, base) for name in COMMANDS for base in ("float16", "transform alone")]
    ratios = {text: statistics.median(r[name] / r[base] for r in results) for text, name, base in of if name != base}
    return {"images_per_s": results, "bytes_per_image": n_bytes, "ratios": ratios}


def measure_entropies(coefficients: np.ndarray, step: float) -> dict[str, float]:
    """Bytes per coefficient that ideal coders would take of quantised coefficients: of order 0, every channel by its
    own frequencies; in context, by those of what the channel before in the same cell and the cells above and to the
    left add up to. What their tables would take is left out: both are lower bounds."""
    wide = coefficients.astype(np.float64)
    steps = find_steps(step, wide.mean((0, 2, 3)), np.square(wide).mean((0, 2, 3)))
    q = np.rint(coefficients / steps.astype(np.float32)[:, None, None]).astype(np.int64)
    before, above, left = np.zeros_like(q), np.zeros_like(q), np.zeros_like(q)
    before[:, 1:], above[:, :, 1:], left[..., 1:] = q[:, :-1], q[:, :, :-1], q[..., :-1]
    channel = np.broadcast_to(np.arange(q.shape[1])[:, None, None], q.shape)
    order = channel_table(SPEC)["order"].astype(np.int64)[channel]
    context = order * 64 + np.minimum(np.abs(2 * before) + np.abs(above) + np.abs(left), 63)
    return {"zero_order": entropy(q, channel), "in_context": entropy(q, context)}


def entropy(q: np.ndarray, context: np.ndarray) -> float:
    """Bytes a symbol, of q given its context."""
    low = q.min()
    pairs = np.bincount((context * (q.max() - low + 1) + q - low).ravel())
    alone = np.bincount(context.ravel())
    bits = [-(counts[counts > 0] * np.log2(counts[counts > 0])).sum() for counts in (pairs, alone)]
    return round(float(bits[0] - bits[1]) / q.size / 8, 4)


def show_encodings(name: str, found: dict[str, dict[str, Any]]) -> str:
    lines = [f"{name:<24} B/coef  error by order            encode  decode  to float32 (Gcoef/s a core)"]
    for arm, entry in found.items():
        if "zero_order" in entry:
            lines.append(f"{arm:<24} of order 0 {entry['zero_order']:.3f}, in context {entry['in_context']:.3f} B/coef")
            continue
        errors = " ".join(f"{value:7.2g}" for value in entry["rms_error_by_order"])
        rates = "  ".join(f"{entry[key]:6.2f}" for key in ("encode_gcoef_s", "decode_gcoef_s", "restore_gcoef_s"))
        lines.append(f"{arm:<24} {entry['bytes_per_coefficient']:6.3f}  {errors}  {rates}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
