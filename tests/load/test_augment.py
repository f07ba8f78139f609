import numpy as np
import pytest

import scatcache
from scatcache import RandomFlip, RandomQuarterTurn, ScatteringSpec, symmetry
from tests.store.stores import draw_images

torch = pytest.importorskip("torch")

SPEC = ScatteringSpec(J=1, L=4, grid="centered")


def samples(n, size=2):
    return torch.rand(n, SPEC.n_channels, size, size, generator=torch.Generator().manual_seed(7))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def names_drawn(augment, S, names, seed=0):
    """Which of names each sample was turned by, told by its values."""
    turned = augment(S, spec=SPEC, generator=generator(seed))
    assert turned.shape == S.shape and turned.dtype == S.dtype
    candidates = {name: symmetry.apply(S, name, SPEC) for name in names}
    found = [[name for name in names if torch.equal(turned[row], candidates[name][row])] for row in range(len(S))]
    assert all(len(one) == 1 for one in found)
    return [name for (name,) in found]


@pytest.mark.parametrize(
    ("augment", "shares"),
    [
        (RandomFlip(), {"identity": 0.5, "hflip": 0.5}),
        (RandomFlip(p=0.2), {"identity": 0.8, "hflip": 0.2}),
        (RandomQuarterTurn(), dict.fromkeys(symmetry.QUARTER_TURNS, 0.25)),
    ],
)
def test_names_are_drawn_per_sample_with_their_frequencies(augment, shares):
    n = 4000
    drawn = names_drawn(augment, samples(n), list(shares))
    for name, share in shares.items():
        # Five standard deviations.
        assert abs(drawn.count(name) / n - share) < 5 * (share * (1 - share) / n) ** 0.5


@pytest.mark.parametrize("augment", [RandomFlip(), RandomQuarterTurn()])
def test_the_generator_alone_decides(augment):
    S, kept = samples(64), samples(64)
    first, again = (augment(S, spec=SPEC, generator=generator(3)) for _ in range(2))
    torch.rand(100)
    assert torch.equal(first, again) and torch.equal(S, kept)
    assert not torch.equal(first, augment(S, spec=SPEC, generator=generator(4)))


def test_flips_at_the_ends_of_p_are_all_or_none():
    S = samples(20)
    assert torch.equal(RandomFlip(p=0)(S, spec=SPEC, generator=generator()), S)
    assert torch.equal(RandomFlip(p=1)(S, spec=SPEC, generator=generator()), symmetry.apply(S, "hflip", SPEC))
    with pytest.raises(ValueError, match=r"p is 1\.5: expected a probability from 0 to 1"):
        RandomFlip(p=1.5)


def test_no_samples_stay_none():
    for augment in (RandomFlip(), RandomQuarterTurn()):
        assert len(augment(samples(0), spec=SPEC, generator=generator())) == 0


def test_quarter_turns_are_refused_where_they_cannot_be_whatever_is_drawn():
    with pytest.raises(ValueError, match="expected square ones"):
        RandomQuarterTurn()(samples(1)[..., :1], spec=SPEC, generator=generator())
    odd = ScatteringSpec(J=1, L=3)
    with pytest.raises(ValueError, match="expected an even L"):
        RandomQuarterTurn()(torch.rand(1, odd.n_channels, 2, 2), spec=odd, generator=generator())


def test_they_are_values():
    assert RandomFlip(0.5) == RandomFlip() != RandomFlip(0.25) and RandomQuarterTurn() == RandomQuarterTurn()
    assert {"RandomFlip", "RandomQuarterTurn"} <= set(dir(scatcache))


@pytest.mark.parametrize("augment", [RandomFlip(), RandomQuarterTurn()])
def test_loader_gives_turned_rows_reproducibly(sound, augment):
    cache = scatcache.open_cache(sound)
    plain, turned, again = (
        list(cache.loader(10, shuffle=True, seed=1, augment=one)) for one in (None, augment, augment)
    )
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(turned, again, strict=True))
    names = set()
    for (S, y), (T, z) in zip(plain, turned, strict=True):
        assert torch.equal(y, z)
        for row in range(len(S)):
            names |= {name for name in symmetry.NAMES if torch.equal(T[row], symmetry.apply(S[row], name, cache.spec))}
    assert names == ({"identity", "hflip"} if augment == RandomFlip() else set(symmetry.QUARTER_TURNS))


def test_loader_that_picks_channels_refuses_to_turn_them(sound):
    cache = scatcache.open_cache(sound)
    with pytest.raises(ValueError, match="S has shape"):
        next(iter(cache.loader(10, channels=[0, 1], augment=RandomFlip())))


def test_a_centered_store_turned_is_the_store_of_turned_images(tmp_path):
    """Through uint8 files, extraction and the cache; float32 alone stands between the two."""
    from PIL import Image, ImageOps

    draw_images(tmp_path / "plain", seed=0, n_images=6)
    for path in (tmp_path / "plain").rglob("*.png"):
        mirrored = tmp_path / "mirrored" / path.relative_to(tmp_path / "plain")
        mirrored.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.mirror(Image.open(path)).save(mirrored)
    caches = []
    for name in ("plain", "mirrored"):
        out = tmp_path / f"{name}.zarr"
        scatcache.extract(tmp_path / name, out=out, J=2, L=4, grid="centered", encoding="float32", workers=1)
        caches.append(scatcache.open_cache(out))
    assert caches[0].spec.grid == "centered"
    plain, expected = (cache.coefficients(slice(None)) for cache in caches)
    found = symmetry.apply(plain, "hflip", caches[0].spec)
    assert np.abs(found - expected).max() < 2e-6 < 1e-2 < np.abs(plain - expected).max()


@pytest.mark.gpu
def test_a_generator_on_the_gpu_draws_there():
    S = samples(64).to("cuda")
    for augment in (RandomFlip(), RandomQuarterTurn()):
        first, again = (augment(S, spec=SPEC, generator=torch.Generator("cuda").manual_seed(1)) for _ in range(2))
        assert first.is_cuda and torch.equal(first, again) and not torch.equal(first, S)
