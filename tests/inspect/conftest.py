"""The stores of tests/store/stores.py as fixtures."""

from pathlib import Path

import pytest

from tests.store.stores import ENCODINGS, copy_store, made_images, made_splits, made_store


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
