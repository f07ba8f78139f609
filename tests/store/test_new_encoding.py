"""An encoding is one entry of the table: all else follows from it."""

import gzip
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest

import scatcache
from scatcache.errors import StoreDamaged
from scatcache.store.format.encodings import ENCODINGS, Encoding
from tests.store.stores import SETTINGS, draw_images, flip


@dataclass(frozen=True)
class Gzip:
    """Zarr's gzip, of which the table knows nothing."""

    level: int
    compresses = True

    @property
    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self, item_bytes: int) -> list[dict[str, Any]]:
        return [{"name": "gzip", "configuration": {"level": self.level}}]

    def encode(self, values: np.ndarray) -> bytes:
        return gzip.compress(values.tobytes(), self.level, mtime=0)

    def decode(self, payload: memoryview, out: np.ndarray) -> None:
        try:
            raw = gzip.decompress(payload)
        except (OSError, EOFError, zlib.error) as error:
            raise StoreDamaged(f"it does not decode ({error})") from error
        if len(raw) != out.nbytes:
            raise StoreDamaged(f"it decodes to {len(raw)} bytes, expected {out.nbytes}")
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(raw, np.uint8)


@pytest.fixture
def toy(monkeypatch):
    """Computed as float32, stored as float16, absent where nothing is as -1."""
    encoding = Encoding("toy", "float32", "float16", -1.0, 1e-3, 0.9, Gzip(5))
    monkeypatch.setitem(ENCODINGS, "toy", encoding)
    return encoding


def test_a_new_encoding_is_one_entry(toy, tmp_path):
    images = draw_images(tmp_path / "images", seed=4, n_images=14, unreadable=(3,))
    out = tmp_path / "toy.zarr"
    assert scatcache.extract(images, out=out, encoding="toy", workers=1, **SETTINGS).state == "complete"
    cache = scatcache.open_cache(out)
    assert (cache.dtype, cache.manifest.encoding) == (np.float16, "toy")
    assert scatcache.verify(out, recompute=1.0).ok and scatcache.resume(out).state == "complete"
    plain = tmp_path / "plain.zarr"
    scatcache.extract(images, out=plain, encoding="float16", workers=1, **SETTINGS)
    expected = scatcache.open_cache(plain).coefficients(cache.readable)
    np.testing.assert_allclose(cache.coefficients(cache.readable), expected, rtol=2e-3, atol=1e-4)


def test_its_facts_are_what_other_programs_read(toy, tmp_path):
    zarr = pytest.importorskip("zarr")
    images = draw_images(tmp_path / "images", seed=4, n_images=14, unreadable=(3,))
    out = tmp_path / "toy.zarr"
    scatcache.extract(images, out=out, encoding="toy", workers=1, **SETTINGS)
    group = zarr.open_group(out, mode="r")
    stated = dict(group.attrs)["scatcache"]["encoding"]
    facts = {"name": "toy", "compute_dtype": "float32", "dtype": "float16", "fill": -1.0, "tolerance": 1e-3}
    assert stated == {**facts, "parameters": {"level": 5}}
    bad = group["all/status"][:] == 2
    assert bad.sum() == 1 and (group["all/coefficients"][:][bad] == -1).all()
    flip(out / "all/coefficients/c.0.0.0.0", 50)
    assert not scatcache.verify(out).ok
