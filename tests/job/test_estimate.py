import numpy as np
import pytest
import torch

import scatcache
from scatcache.job.estimate import MOST_EPOCHS, Weighed, find_break_even, recommend, show_code, show_seconds


def weighed(**changes):
    """An hour's extraction whose epochs take a minute where computing takes ten."""
    usual = {"extract_s": 3600.0, "cached_epoch_s": 60.0, "computed_epoch_s": 600.0, "store_bytes": 10**9}
    return Weighed(**{**usual, "free_bytes": 10**10, "bytes": {"--encoding float16": 10**9}, **changes})


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({}, 7),
        ({"extract_s": 500.0}, 1),
        ({"extract_s": 540.0 * 100}, 100),
        ({"cached_epoch_s": 600.0}, None),
        ({"cached_epoch_s": 550.0}, None),
        ({"cached_epoch_s": 540.0}, 60),
    ],
)
def test_the_cache_pays_when_reading_has_won_back_the_extraction(changes, epochs):
    assert find_break_even(weighed(**changes)) == epochs


@pytest.mark.parametrize(
    ("changes", "says", "is_to_cache"),
    [
        ({}, "Cache: from epoch 7 on it pays.", True),
        ({"extract_s": 500.0}, "Cache: from the first epoch on it pays.", True),
        ({"extract_s": 540.0 * MOST_EPOCHS}, f"Cache: from epoch {MOST_EPOCHS} on", True),
        ({"extract_s": 540.0 * (MOST_EPOCHS + 1)}, "Do not cache unless you train for more than 101 epochs", False),
        ({"cached_epoch_s": 599.0}, "Do not cache: an epoch read from the store takes 10 min, computing", False),
        ({"cached_epoch_s": 6000.0}, "Do not cache: an epoch read from the store takes 1.7 h", False),
        ({"store_bytes": 10**11}, "Cache, but with --encoding float16", True),
        ({"store_bytes": 10**11, "bytes": {"--pool 1": 10**11}}, "Do not cache here", False),
        (
            {"store_bytes": 10**11, "bytes": {"--encoding float16": 10**11, "--encoding quantised": 10**9}},
            "Cache, but with --encoding quantised",
            True,
        ),
    ],
)
def test_the_recommendation_on_both_sides_of_every_limit(changes, says, is_to_cache):
    sentence, cache = recommend(weighed(**changes))
    assert sentence.startswith(says) and cache == is_to_cache and sentence.count(".") >= 1


@pytest.mark.parametrize("options", ["", ", L=4, grid='centered', pool=1, angles='mean'"])
def test_the_code_that_computes_on_the_fly_runs(options):
    code = show_code(J=2, shape=(16, 24), options=options, device="cpu")
    assert len(code.splitlines()) == 3
    names = {"images": torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8)}
    exec(code, names)
    spec = names["scattering"].spec
    assert names["S"].shape == (2, 3 * spec.n_paths, *spec.output_shape(16, 24)[1:])
    images = np.moveaxis(names["images"].numpy(), 1, -1)
    transform = scatcache.scattering.open_transform(scatcache.ScatteringSpec(2), (16, 24))
    if not options:
        out = np.empty((2, *transform.output_shape), np.float32)
        transform(images, out)
        np.testing.assert_allclose(names["S"].numpy(), out, rtol=1e-4, atol=1e-6)


def test_seconds_are_shown_in_the_unit_that_suits_them():
    assert [show_seconds(s) for s in (0.5, 42.3, 600, 7200)] == ["0.5 s", "42 s", "10 min", "2.0 h"]
