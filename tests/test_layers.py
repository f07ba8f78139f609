"""The house rules that a machine can check: who may import whom, how late, and what may stand where."""

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "scatcache").rglob("*.py"))

# A part imports only parts of a lower number, and itself. "" is scatcache/__init__.py, the names a user sees; the parts
# it is made of do not import it.
LEVELS = {
    "errors": 0,
    "version": 0,
    "typed": 0,
    "retries": 0,
    "durable": 1,
    "spec": 1,
    "terminal": 1,
    "trust": 1,
    "resources": 1,
    "signatures": 1,
    "options": 1.5,
    "views": 1,
    "remote": 1.5,
    "images": 2,
    "scattering": 2,
    "store": 2,
    "symmetry": 3,
    "testing": 3,
    "job": 4,
    "load": 4,
    "inspect": 5,
    "": 6,
    "interruption": 7,
    "click_options": 7,
    "progress": 7,
    "results": 8,
    "commands": 9,
}
# Inside a package a module imports only what stands in an earlier entry than its own; a folder stands for all below it.
ORDER = {
    "images": [
        "class_names contents forms keys limits",
        "decoding",
        "archives decode roots source",
        "image_source",
        "kinds native_form",
        "datasets",
        "named_datasets",
        "catalogue",
    ],
    "remote": ["urls web", "addresses", "objects", "zarr_files"],
    "scattering": [
        "batch_transform morlet paths radices",
        "fused_source reduction",
        "filters magnitudes",
        "fused_plan reference torch_fft",
        "native",
        "channel_sums fused quantisation",
        "backends",
        "batched scattering2d",
    ],
    "store": [
        "format lock places",
        "documents evidence",
        "records",
        "split_records writer",
        "open_shards",
        "reader",
    ],
    "job": [
        "estimate pixels planning reading shard_sink sharing store_folder watching worker_processes",
        "calibration comparison executors layouts shard_job stored stored_source takeover",
        "shard_images tasks",
        "shard_task",
        "planned",
        "events report",
        "settings",
        "options_page request workers",
        "preparation stages",
        "run",
        "extraction",
    ],
    "load": [
        "augment division lazy read_ahead rows sampler",
        "arguments stored_rows",
        "dataset features loader selection",
        "preload",
        "cache",
    ],
    "inspect": [
        "bytes_table disk_speed disks energy failures named_sources page synthetic",
        "disk_figure doctor info sample split_check strangers",
        "forecast",
        "plan",
        "picture verify",
        "show",
    ],
}
OUTSIDE = ("cli", "pipelines", "tests")
HEAVY = (
    *("torch", "cupy", "dask", "distributed", "matplotlib", "zarr"),
    *("pyarrow", "h5py", "astropy", "tifffile", "imagecodecs", "datasets", "xarray", "obstore"),
)
COUNTS = (81, 243)


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, at any depth, by statement or by a call with the name spelt out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def upward_imports(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What `module` imports and should not; empty where it keeps to the layers."""
    part = part_of(module)
    if part not in LEVELS:
        return [f"{module} has no place in the layers: expected one of {', '.join(filter(None, LEVELS))}"]
    package = module if is_package else module.rpartition(".")[0]
    faults = []
    for line, name in imported(ast.parse(source), package):
        top = name.split(".")[0]
        if top in OUTSIDE:
            faults.append(f"{module}:{line} imports {name}")
        if top != "scatcache":
            continue
        target = part_of(name) if part_of(name) in LEVELS else ""
        if target != part and LEVELS[target] >= LEVELS[part]:
            faults.append(f"{module}:{line} imports {name}")
    return faults


def build_graph(paths: list[Path]) -> dict[str, set[str]]:
    """Which of these modules each imports: at its top, in a function, or for the type checker alone."""
    names = {module_name(path): path for path in paths}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = {target for _, target in imported(ast.parse(path.read_text()), package)}
        graph[name] = {module for target in found if (module := nearest_module(target, set(names)))} - {name}
    return graph


def nearest_module(target: str, names: set[str]) -> str:
    """The module that an imported name is, or is taken from; "" for another library's."""
    while target and target not in names:
        target = target.rpartition(".")[0]
    return target


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The groups of modules that import one another, on a way of any length, each as "a <-> b <-> c"."""
    reached = {name: reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return {" <-> ".join(sorted(group)) for group in groups if group}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = [*graph[start]]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def against_the_order(graph: dict[str, set[str]], order: dict[str, list[str]]) -> set[str]:
    """Imports inside a package that point up or sideways, and modules that have no place in its order."""
    faults = set()
    for name, targets in graph.items():
        package = part_of(name)
        if name.count(".") < 2 or package not in order:
            continue
        rank = rank_of(name, order[package])
        if rank is None:
            faults.add(f"{name} has no place in the order of {package}")
            continue
        for target in targets:
            beside = rank_of(target, order[package]) if part_of(target) == package and target.count(".") > 1 else None
            if beside is not None and beside[0] >= rank[0] and beside[1] != rank[1]:
                faults.add(f"{name} imports {target}")
            if target == f"scatcache.{package}":
                faults.add(f"{name} imports {target}, which is made of it")
    return faults


def rank_of(name: str, entries: list[str]) -> tuple[int, str] | None:
    """Which entry a module stands in, and under what name: its own, or the folder's."""
    below = name.split(".", 2)[2]
    for rank, entry in enumerate(entries):
        for candidate in entry.split():
            if below == candidate or below.startswith(candidate + "."):
                return rank, candidate
    return None


def counts_spelt_out(source: str) -> list[int]:
    """Lines on which a number of channels or paths stands as a literal."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [t.start[0] for t in tokens if t.type == tokenize.NUMBER and ast.literal_eval(t.string) in COUNTS]


def broad_handlers(source: str) -> list[int]:
    """Lines that swallow everything: a bare except, Exception, suppress; BaseException may clean up and raise again."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            names = names_in(node.type) if node.type else {"BaseException"}
            last = node.body[-1]
            raises_again = isinstance(last, ast.Raise) and last.exc is None
            swallows = "Exception" in names or node.type is None or ("BaseException" in names and not raises_again)
        else:
            suppresses = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")
            swallows = suppresses and bool(names_in(*node.args) & {"Exception", "BaseException"})
        if swallows:
            lines.append(node.lineno)
    return lines


def names_in(*nodes: ast.AST) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def heavy_after(program: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """Which of HEAVY a fresh interpreter has imported after `program`, and how it ended."""
    report = f"lambda: print('HEAVY', *(sys.modules.keys() & {set(HEAVY)}))"
    probe = f"import atexit, sys\natexit.register({report})\n{program}"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.stdout.split("HEAVY")[-1].split(), done


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_only_down(path):
    assert upward_imports(module_name(path), path.read_text(), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scatcache.errors", "from scatcache.spec import ScatteringSpec"),
        ("scatcache.spec", "import scatcache.store"),
        ("scatcache.images.kinds.folder", "def f():\n    from scatcache.store import manifest"),
        ("scatcache.store.reader", "from scatcache.scattering.paths import x"),
        ("scatcache.scattering.fused", "from ..images import decode"),
        ("scatcache.job.planning", "from scatcache.load.cache import open_cache"),
        ("scatcache.load.cache", "from ..job import planning"),
        ("scatcache.load.cache", "from scatcache import open_cache"),
        ("scatcache.load.cache", "import scatcache"),
        ("scatcache.inspect.show", "import importlib\nimportlib.import_module('scatcache.commands')"),
        ("scatcache.commands", "from tests import conftest"),
        ("scatcache.inspect.plan", "import pipelines.demo"),
        ("scatcache.anything", ""),
    ],
)
def test_import_that_points_up_is_found(module, source):
    assert len(upward_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source", "is_package"),
    [
        ("scatcache.errors", "import os", False),
        ("scatcache.store.reader", "from . import layout\nfrom ..errors import StoreDamaged", False),
        ("scatcache.store", "from .layout import plan_layout\nfrom scatcache import spec, version", True),
        ("scatcache.commands", "import scatcache\nfrom scatcache.inspect.info import info", False),
        ("scatcache", "from scatcache.job import extract\nfrom .load import open_cache", True),
    ],
)
def test_import_that_points_down_is_allowed(module, source, is_package):
    assert upward_imports(module, source, is_package=is_package) == []


def test_no_modules_import_one_another():
    assert circles(build_graph(MODULES)) == set()


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"a"}}, {"a <-> b"}),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, {"a <-> b <-> c"}),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, set()),
    ],
)
def test_circle_is_found(graph, found):
    assert circles(graph) == found


def test_imports_in_functions_and_for_the_type_checker_close_a_circle(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "scatcache").mkdir()
    texts = {
        "__init__": "",
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from scatcache.b import B",
        "b": "def f():\n    from . import c",
        "c": "import importlib\nimportlib.import_module('scatcache.a')",
        "d": "import scatcache.a\nimport os",
    }
    paths = [tmp_path / "scatcache" / f"{name}.py" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    assert circles(build_graph(paths)) == {"scatcache.a <-> scatcache.b <-> scatcache.c"}


def test_imports_inside_a_package_point_only_down():
    assert against_the_order(build_graph(MODULES), ORDER) == set()


def test_import_inside_a_package_that_points_up_is_found():
    order = {"store": ["format", "records evidence", "reader"]}
    s = "scatcache.store"
    allowed = {
        f"{s}.reader": {f"{s}.records", f"{s}.format.rows", "scatcache.errors"},
        f"{s}.format.rows": {f"{s}.format.text"},
        f"{s}": {f"{s}.reader"},
    }
    assert against_the_order(allowed, order) == set()
    for name, target in (("format.rows", "records"), ("records", "evidence"), ("records", "reader")):
        assert against_the_order({f"{s}.{name}": {f"{s}.{target}"}}, order) == {f"{s}.{name} imports {s}.{target}"}
    assert len(against_the_order({f"{s}.records": {s}}, order)) == 1
    assert against_the_order({f"{s}.new": set()}, order) == {f"{s}.new has no place in the order of store"}


def test_every_package_has_an_order():
    assert ORDER.keys() == {path.parent.name for path in (ROOT / "scatcache").glob("*/__init__.py")}


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "paths.py"], ids=module_name)
def test_number_of_channels_is_computed(path):
    assert counts_spelt_out(path.read_text()) == []


def test_number_of_channels_spelt_out_is_found():
    assert counts_spelt_out("a = 82\nb = (243, 3 * 0x51)  # 81\nc = '243'\nd = 8.1e1j + 810\n") == [2, 2]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_catches_everything(path):
    assert broad_handlers(path.read_text()) == []


@pytest.mark.parametrize(
    "handler",
    [
        "except:\n    raise",
        "except Exception:\n    raise",
        "except (OSError, Exception) as e:\n    log(e)",
        "except BaseException:\n    clean()",
        "finally:\n    contextlib.suppress(Exception)",
    ],
)
def test_handler_that_catches_everything_is_found(handler):
    assert len(broad_handlers(f"try:\n    pass\n{handler}\n")) == 1


def test_handler_that_cleans_up_or_is_narrow_is_allowed():
    source = "try:\n    pass\nexcept OSError:\n    pass\nexcept BaseException:\n    clean()\n    raise\n"
    assert broad_handlers(source) == []


def test_modules_are_named_for_what_they_hold():
    assert [path for path in MODULES if path.name in ("utils.py", "base.py")] == []


def test_importing_scatcache_imports_no_heavy_library():
    heavy, done = heavy_after("import scatcache")
    assert (done.returncode, heavy) == (0, []), done.stderr


@pytest.mark.skipif(not (ROOT / "scatcache/commands.py").exists(), reason="scatcache/commands.py is not written")
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_heavy_library(option):
    heavy, done = heavy_after(
        f"sys.argv = ['scatcache', '{option}']\nfrom scatcache.commands import main\nsys.exit(main())"
    )
    assert (done.returncode, heavy) == (0, []), done.stderr
    assert done.stdout.strip().splitlines()[0] != "HEAVY"


def test_heavy_library_is_found():
    heavy, done = heavy_after("import zarr")
    assert (done.returncode, heavy) == (0, ["zarr"]), done.stderr
