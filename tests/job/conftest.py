"""The datasets that extraction is shown on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runs import make_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of splits train (13 images, one cut short) and test (6)."""
    make_images(tmp_path / "images" / "train", 13)
    make_images(tmp_path / "images" / "test", 6, seed=1)
    cut = tmp_path / "images" / "train" / "class1" / "0003.png"
    cut.write_bytes(cut.read_bytes()[:60])
    return tmp_path / "images"


@pytest.fixture(params=["generated", "photos", "cifar10"])
def dataset(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What extract() takes: the source, and settings that make about ten shards of it."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "generated": lambda: {"source": request.getfixturevalue("images"), "J": 2, "shard_images": 2},
        "photos": lambda: {"source": "photos", "J": 1, "max_order": 1, "limit": 9, "shard_images": 1},
        "cifar10": lambda: {
            "source": "cifar10",
            "root": request.getfixturevalue("cifar10_root"),
            "J": 2,
            "limit": 30,
            "shard_images": 6,
        },
    }
    return makers[request.param]()
