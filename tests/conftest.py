"""Data the tests share, the GPU's absence, and the count of what was skipped."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.stores import ENCODINGS, copy_store, made_images, made_measured, made_splits, made_store

VARIABLE = "SCATCACHE_TEST_DATA"

try:  # GPU tests run in interpreters that have no Hypothesis
    import hypothesis
except ImportError:
    pass
else:
    hypothesis.settings.register_profile("scatcache", deadline=None)  # a busy machine is no failure
    hypothesis.settings.load_profile("scatcache")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of the larger test data."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"needs {VARIABLE}, the folder of the larger test data")
    if not Path(folder).is_dir():
        pytest.fail(f"{VARIABLE} is {folder}, which is no folder", pytrace=False)
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def needs_data() -> Callable[[str], Path]:
    """needs_data("imagenet-1000.tar") is that file's path; where it is missing the test is skipped by its name."""

    def find(name: str) -> Path:
        folder = os.environ.get(VARIABLE)
        if not folder or not (Path(folder) / name).exists():
            pytest.skip(f"needs {name} in {VARIABLE}")
        return (Path(folder) / name).resolve()

    return find


@pytest.fixture(scope="session")
def cifar10_root(needs_data: Callable[[str], Path]) -> Path:
    """A folder that holds cifar-10-batches-bin, the true CIFAR-10; made once a machine. Read it, never write in it."""
    script = needs_data("get_cifar10.py")
    if shutil.which("npm") is None:
        pytest.skip("needs npm, from which get_cifar10.py fetches CIFAR-10")

    def make(folder: Path) -> None:
        command = [sys.executable, str(script), str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines()
            pytest.skip(f"get_cifar10.py failed: {lines[-1] if lines else error}")
        except subprocess.TimeoutExpired:
            pytest.skip("get_cifar10.py took more than 240 s")
        for archive in folder.glob("*.tgz"):
            archive.unlink()

    return made_once("cifar10", script, make)


@pytest.fixture(scope="session")
def imagenet_folder(needs_data: Callable[[str], Path]) -> Path:
    """1000 ImageNet photographs in class folders, one a class; unpacked once a machine. Read it, never write in it."""
    archive = needs_data("imagenet-1000.tar")

    def make(folder: Path) -> None:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")

    return made_once("imagenet", archive, make) / "imagenet-1000"


@pytest.fixture(scope="session")
def robustness(needs_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """826 image files, truncated, bombs, CMYK, 16-bit, animated and worse, in ten class folders, and MANIFEST.csv."""
    folder = tmp_path_factory.mktemp("nasty")
    with tarfile.open(needs_data("robustness.tar.xz")) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.rglob("MANIFEST.csv")).parent


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 50 images, three of them unreadable; read only."""
    return made_images(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session", params=ENCODINGS)
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their finished store, in each encoding in turn; read only."""
    return made_store(tmp_path_factory.getbasetemp(), request.param)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their finished store, in float16; read only."""
    return made_store(tmp_path_factory.getbasetemp())


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    return copy_store(sound, tmp_path)


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with the splits test and train; read only."""
    return made_splits(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store whose split train has three targets an image, and test none; read only."""
    return made_measured(tmp_path_factory.getbasetemp())


def made_once(name: str, origin: Path, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills from the file `origin`, kept between runs outside the checkout.

    It appears under its name by one rename, complete, so that two runs at once may both make it and one wins. A folder
    that lost files since (temporary folders are swept) is made again.
    """
    with origin.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    cache = own_cache()
    kept = cache / f"{name}-{digest}"
    if not is_whole(kept):
        for left in cache.glob("making-*"):  # a killed run's
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix="making-", dir=cache))
        try:
            make(building / "data")
            sizes = {str(p.relative_to(building)): p.stat().st_size for p in building.rglob("*") if p.is_file()}
            (building / "sizes.json").write_text(json.dumps(sizes))
            if not is_whole(kept):
                shutil.rmtree(kept, ignore_errors=True)
                try:
                    building.rename(kept)
                except OSError:
                    assert is_whole(kept), f"{kept} is neither absent nor whole: delete it"
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return kept / "data"


def own_cache() -> Path:
    cache = Path(tempfile.gettempdir()) / f"scatcache-test-data-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    assert cache.stat(follow_symlinks=False).st_uid == os.getuid(), f"{cache} belongs to another user"
    return cache


def is_whole(kept: Path) -> bool:
    try:
        sizes = json.loads((kept / "sizes.json").read_text())
        return all((kept / path).stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError):
        return False


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One intra-op thread, as in extraction; on a shared machine two that wait for each other take ten times longer."""
    import torch

    torch.set_num_threads(1)


@functools.cache
def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not has_cuda():
        pytest.skip("needs a CUDA device")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Ends the run, after every other summary, with what did not run to a verdict, counted by reason."""
    yield
    counts = Counter(unrun_lines(terminalreporter))
    terminalreporter.section("not run, by reason")
    for (verb, reason), n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        terminalreporter.write_line(f"{verb} {n}: {reason}")
    if not counts:
        terminalreporter.write_line("skipped 0")


def unrun_lines(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, str]]:
    """(verb, reason) of each skipped, expectedly failing or deselected test; a module skipped whole says so."""
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        whole = f" (all of {report.nodeid})" if isinstance(report, pytest.CollectReport) else ""
        yield "skipped", reason.removeprefix("Skipped: ") + whole
    for report in terminalreporter.getreports("xfailed"):
        yield "expected to fail", getattr(report, "wasxfail", "") or "no reason given"
    for _ in terminalreporter.getreports("deselected"):
        yield "deselected", "by -m, -k or --deselect"
