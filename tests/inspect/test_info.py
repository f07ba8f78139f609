import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import scatcache
from tests.images.parts import read_key
from tests.store.stores import N_IMAGES, UNREADABLE, copy_store, flip, make_partial


def test_finished_store_is_described(sound):
    info = scatcache.info(sound)
    assert (info.store, info.format, info.state, info.source, info.encoding) == (
        str(sound),
        2,
        "complete",
        "folder",
        "float16",
    )
    spec = scatcache.open_cache(sound).spec
    assert info.spec == spec
    on_disk = sum(path.stat().st_size for path in sound.rglob("*") if path.is_file())
    assert on_disk <= info.bytes <= 2 * on_disk + 2**20
    assert info.to_dict()["splits"] == {
        "all": {
            "rows": N_IMAGES,
            "ok": N_IMAGES - len(UNREADABLE),
            "unreadable": len(UNREADABLE),
            "shards": 5,
            "shards_done": 5,
            "image_shape": (24, 24),
            "classes": 3,
            "targets": 0,
        }
    }
    found = json.loads(json.dumps(info.to_dict()))
    assert found["splits"]["all"]["image_shape"] == [24, 24]
    assert found["pixels"] == {"kind": "rgb", "colours": 3, "dtype": "uint8", "scale": 255.0}


def test_every_split_is_described(splits):
    info = scatcache.info(splits)
    assert list(info.splits) == ["test", "train"] and {split.rows for split in info.splits.values()} == {6}


def test_unfinished_store_counts_what_is_there(store):
    make_partial(store, missing=(1, 4))
    info = scatcache.info(store)
    cache = scatcache.open_cache(store, allow_partial=True)
    split = info.splits["all"]
    assert (info.state, split.shards, split.shards_done, split.rows) == ("incomplete", 5, 3, N_IMAGES)
    assert split.ok == len(cache.readable) and split.ok + split.unreadable == 36


def test_store_without_summary_is_incomplete_for_info_too(store):
    make_partial(store, missing=())
    assert scatcache.info(store).state == "incomplete"
    with pytest.raises(scatcache.StoreIncomplete):
        scatcache.open_cache(store)


def test_one_unfinished_split_makes_a_store_incomplete(splits, tmp_path):
    store = copy_store(splits, tmp_path)
    (store / "train/coefficients/receipts/summary.json").unlink()
    assert scatcache.info(store).state == "incomplete"


@pytest.mark.parametrize("name", ["zarr.json", "all/coefficients/receipts/summary.json", "all/label/c.0"])
def test_damage_raises(store, name):
    flip(store / name, 0, 4)
    with pytest.raises(scatcache.StoreDamaged):
        scatcache.info(store)


def test_lost_split_raises(store):
    (store / "all/zarr.json").unlink()
    with pytest.raises(scatcache.StoreDamaged, match=r"split all: its zarr\.json is missing"):
        scatcache.info(store)


def test_what_is_no_store_raises(tmp_path):
    with pytest.raises(scatcache.NotAStore):
        scatcache.info(tmp_path)


def test_describing_changes_nothing(sound):
    def listing():
        return {path: path.stat().st_mtime_ns for path in Path(sound).parent.rglob("*")}

    before = listing()
    scatcache.info(sound)
    assert listing() == before


def test_a_shard_file_that_is_gone_is_not_done(sound, tmp_path):
    store = tmp_path / "s.zarr"
    shutil.copytree(sound, store)
    (store / "all" / "coefficients" / "c.1.0.0.0").unlink()
    info = scatcache.info(store)
    assert (info.state, info.splits["all"].shards_done) == ("incomplete", 4)


def test_energy_is_that_of_the_stored_coefficients(encoded):
    cache = scatcache.open_cache(encoded)
    coefficients = cache.coefficients(cache.readable).astype(np.float64)
    order = np.tile(np.repeat([0, 1, 2], [1, 8, 16]), 3)
    norms = [np.square(coefficients[:, order == which]).sum(axis=1) for which in range(3)]
    # Of one row and position, per colour.
    expected = [norm.mean() / 3 for norm in norms]
    np.testing.assert_allclose(scatcache.info(encoded).splits["all"].energy, expected, rtol=1e-6)


def test_energy_is_at_most_that_of_the_pixels(tmp_path):
    scatcache.extract("photos", out=tmp_path / "s.zarr", J=2, limit=5)
    from scatcache.images.datasets.photos import open_photos

    keys = scatcache.open_cache(tmp_path / "s.zarr").keys
    pixels = np.mean([np.square(read_key(open_photos(), "all", key) / 255).mean() for key in keys])
    energy = scatcache.info(tmp_path / "s.zarr").splits["all"].energy
    assert 0.9 * pixels < sum(energy) < 1.02 * pixels and energy[0] > energy[1] > energy[2] > 0


def test_energy_has_a_value_for_each_order_there_is(tmp_path, images):
    for max_order in (0, 1):
        out = tmp_path / f"{max_order}.zarr"
        scatcache.extract(images, out=out, J=1, L=2, max_order=max_order)
        assert len(scatcache.info(out).splits["all"].energy) == max_order + 1


def test_energy_of_an_unfinished_split_is_unknown(store):
    make_partial(store, missing=(1,))
    assert scatcache.info(store).splits["all"].energy is None


def test_energy_stays_out_of_the_dictionary(sound):
    assert "energy" not in scatcache.info(sound).to_dict()["splits"]["all"]
