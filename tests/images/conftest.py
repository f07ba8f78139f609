"""The nasty image files, for the tests of this folder."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def robustness(needs_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """826 image files, truncated, bombs, CMYK, 16-bit, animated and worse, in ten class folders, and MANIFEST.csv."""
    folder = tmp_path_factory.mktemp("nasty")
    with tarfile.open(needs_data("robustness.tar.xz")) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.rglob("MANIFEST.csv")).parent
