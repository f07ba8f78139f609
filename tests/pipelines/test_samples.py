from dataclasses import replace

import numpy as np
import pytest

from pipelines.samples import Sample, draw_sample, open_sample
from scatcache import ScatteringSpec


@pytest.mark.parametrize("n_images", [100, 500, 1000])
@pytest.mark.parametrize("seed", [0, 3])
def test_sample_is_drawn_as_the_authors_draw_it(n_images, seed):
    labels = np.random.default_rng(7).permutation(np.repeat(np.arange(10), 5000))
    expected = set()
    for label in range(10):
        in_file_order = [row for row in range(50_000) if labels[row] == label]
        for index in np.random.RandomState(seed).permutation(5000)[: n_images // 10]:
            expected.add(in_file_order[index])
    rows = draw_sample(labels, n_images, seed=seed)
    assert len(rows) == n_images and set(rows.tolist()) == expected and (np.diff(rows) > 0).all()


def test_sample_of_a_part_of_the_split_is_refused():
    with pytest.raises(ValueError, match="expected 5000 each"):
        draw_sample(np.repeat(np.arange(10), 40), 100, seed=0)
    with pytest.raises(ValueError, match="expected a multiple of 10"):
        draw_sample(np.repeat(np.arange(10), 5000), 101, seed=0)


def test_images_of_the_sample_are_those_of_the_archive(cifar10_root, options, tmp_path):
    records = np.concatenate(
        [
            np.fromfile(cifar10_root / "cifar-10-batches-bin" / f"data_batch_{index}.bin", np.uint8).reshape(-1, 3073)
            for index in range(1, 6)
        ]
    )
    sample = Sample(cifar10_root, 100, seed=1)
    images, labels = zip(*sample, strict=True)
    assert labels == tuple(records[sample.rows, 0]) and np.bincount(labels).tolist() == [10] * 10
    np.testing.assert_array_equal(
        np.stack(images), records[sample.rows, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    )


def test_versions_tell_samples_apart(cifar10_root):
    versions = {Sample(cifar10_root, 100, seed=seed).version for seed in (0, 1)}
    assert len(versions) == 2 and Sample(cifar10_root, 100, seed=0).version in versions


def test_store_of_a_sample_holds_all_its_views(cifar10_root, options, tmp_path):
    options = replace(options, smoke=False, root=cifar10_root, stores=tmp_path)
    store = open_sample(options, 100, seed=0, spec=ScatteringSpec(J=2), views=3)
    (cache,) = store.caches
    assert cache.n_views == 3 and len(cache) == 300 and store.path.name == "cifar10-100-seed0-J2-views3.zarr"
    again = open_sample(replace(options, root=tmp_path / "moved"), 100, seed=0, spec=ScatteringSpec(J=2), views=3)
    assert again.path == store.path
