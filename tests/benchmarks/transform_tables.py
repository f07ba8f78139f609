"""The tables of bench_transform's report, as aligned text or in Markdown."""

from collections.abc import Callable
from typing import Any

POSTER_IMAGES, POSTER_J, POSTER_SIZES = 128, 2, (32, 128, 256)
POSTER_TITLE = (
    f"Seconds for {POSTER_IMAGES} RGB images, J={POSTER_J}: the poster's, their hardware; ours, from images/s."
)
# Seconds for 128 RGB images, from the poster of Oyallon, Belilovsky and Zagoruyko (arXiv 1703.08961).
POSTER_S = {
    "poster's TitanX": {32: 0.030, 128: 0.260, 256: 0.710},
    "poster's CPU": {32: 2.5, 128: 16.0, 256: 160.0},
}
HEADER = ["px", "J", "threads", "implementation", "batch", "images/s", "ratio", "spread", "peak MB", "others"]
NOTES = """\
images/s: median of the rounds at the best batch. ratio: to kymatio-torch, median of the ratios within a round.
spread: (highest - lowest) / median of the rounds. peak MB: what one call at that batch adds to the process's memory.
others: how many cores other processes kept busy meanwhile; near 0 on an idle machine."""

Rows = list[list[str]]


def show_report(report: dict[str, Any], *, markdown: bool = False) -> str:
    draw = draw_markdown if markdown else draw_text
    machine = report["machine"]
    cpu, versions = machine["cpu"], machine["versions"]
    head = (
        f"{cpu['model']}, {count(cpu['usable_cores'], 'core')}, torch {versions['torch']}, commit {machine['commit']}"
    )
    if report["omp_wait_policy"]:
        head += f", OMP_WAIT_POLICY={report['omp_wait_policy']}"
    notes = [NOTES, *(f"without {name}: {reason}" for name, reason in report["refused"].items())]
    crowded = sum(
        result["n_threads"] + result["n_cores_of_others"] > cpu["usable_cores"] + 0.2 for result in report["results"]
    )
    if crowded:
        notes.append(f"NOT TO BE PUBLISHED: {count(crowded, 'row')} measured with other processes on the same cores.")
    tables = [draw(*(make_compact(report) if markdown else (HEADER, make_rows(report)))), draw(*make_poster(report))]
    return "\n\n".join([head, tables[0], "\n".join(notes), POSTER_TITLE, tables[1]])


def make_rows(report: dict[str, Any]) -> Rows:
    return [
        [
            str(result["size"]),
            str(result["J"]),
            str(result["n_threads"]),
            result["implementation"],
            str(result["batch_images"]),
            format_digits(result["images_per_s"]),
            "-" if result["ratio"] is None else f"{result['ratio']:.2f}",
            f"{100 * result['spread']:.0f}%",
            "-" if result["peak_bytes"] is None else f"{result['peak_bytes'] / 1e6:.1f}",
            f"{result['n_cores_of_others']:.1f}",
        ]
        for result in report["results"]
    ]


def make_compact(report: dict[str, Any]) -> tuple[list[str], Rows]:
    """Header and rows with all implementations of a case side by side: images/s (ratio), and the peak MB of each."""
    cases: dict[tuple[int, int, int], dict[str, dict[str, Any]]] = {}
    for result in report["results"]:
        case = cases.setdefault((result["size"], result["J"], result["n_threads"]), {})
        case[result["implementation"]] = result
    names = list(dict.fromkeys(result["implementation"] for result in report["results"]))
    rows = []
    for case, found in cases.items():
        cells = [show_speed(found[name]) if name in found else "-" for name in names]
        peaks = [format_digits(found[name]["peak_bytes"] / 1e6) if name in found and found[name]["peak_bytes"] else "-"
                 for name in names]  # fmt: skip
        rows.append([*map(str, case), *cells, " / ".join(peaks)])
    return ["px", "J", "threads", *names, "peak MB, in this order"], rows


def show_speed(result: dict[str, Any]) -> str:
    speed = format_digits(result["images_per_s"])
    return speed if result["ratio"] is None else f"{speed} ({format_digits(result['ratio'])})"


def make_poster(report: dict[str, Any]) -> tuple[list[str], Rows]:
    """Header and rows of the poster's table beside ours; "-" for what was not measured."""
    ours: dict[str, dict[int, float]] = {}
    for result in report["results"]:
        if result["J"] == POSTER_J:
            label = f"{result['implementation']}, {count(result['n_threads'], 'thread')}"
            ours.setdefault(label, {})[result["size"]] = POSTER_IMAGES / result["images_per_s"]
    rows = [
        [label, *(format_digits(seconds[size]) if size in seconds else "-" for size in POSTER_SIZES)]
        for label, seconds in (POSTER_S | ours).items()
    ]
    return ["", *(f"{size} px" for size in POSTER_SIZES)], rows


def format_digits(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def draw_text(header: list[str], rows: Rows) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return draw_lines([header, *rows], lambda row: "  ".join(map(str.rjust, row, widths)))


def draw_markdown(header: list[str], rows: Rows) -> str:
    return draw_lines([header, ["---"] * len(header), *rows], lambda row: f"| {' | '.join(row)} |")


def draw_lines(rows: Rows, draw: Callable[[list[str]], str]) -> str:
    return "\n".join(map(draw, rows))
