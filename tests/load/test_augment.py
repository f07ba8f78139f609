from dataclasses import replace

import numpy as np
import pytest

import scatcache
from scatcache import Compose, GridCrop, RandomFlip, RandomQuarterTurn, ScatteringSpec, symmetry
from scatcache.images.catalogue import open_source
from scatcache.images.decode import decode
from scatcache.load.augment import shift_cells
from scatcache.scattering import open_transform
from scatcache.scattering.reduction import average_angles
from scatcache.spec import Reduction
from tests.images.parts import read_key
from tests.store.stores import draw_images

torch = pytest.importorskip("torch")

SPEC = ScatteringSpec(J=1, L=4, grid="centered")


def samples(n, size=2):
    return torch.rand(n, SPEC.n_channels, size, size, generator=torch.Generator().manual_seed(7))


def compute(images, spec):
    """float32 (n, n_channels, h, w) of uint8 (n, H, W, 3)."""
    transform = open_transform(spec, images.shape[1:3])
    S = np.empty((len(images), *transform.output_shape), np.float32)
    for start in range(0, len(images), transform.batch_images):
        part = slice(start, start + transform.batch_images)
        transform(images[part], S[part])
    return S


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


AUGMENTATIONS = [RandomFlip(), RandomQuarterTurn(), GridCrop(), Compose([GridCrop(2), RandomFlip()])]


@pytest.mark.parametrize("augment", AUGMENTATIONS)
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
    for augment in AUGMENTATIONS:
        assert len(augment(samples(0), spec=SPEC, generator=generator())) == 0


def test_quarter_turns_are_refused_where_they_cannot_be_whatever_is_drawn():
    with pytest.raises(ValueError, match="expected square ones"):
        RandomQuarterTurn()(samples(1)[..., :1], spec=SPEC, generator=generator())
    odd = ScatteringSpec(J=1, L=3)
    with pytest.raises(ValueError, match="expected an even L"):
        RandomQuarterTurn()(torch.rand(1, odd.n_channels, 2, 2), spec=odd, generator=generator())


def test_they_are_values():
    assert RandomFlip(0.5) == RandomFlip() != RandomFlip(0.25) and RandomQuarterTurn() == RandomQuarterTurn()
    assert GridCrop() == GridCrop(1) != GridCrop(2)
    assert Compose([GridCrop(), RandomFlip()]) == Compose(iter((GridCrop(), RandomFlip()))) != Compose([RandomFlip()])
    assert {"Compose", "GridCrop", "RandomFlip", "RandomQuarterTurn"} <= set(dir(scatcache))


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
    for augment in AUGMENTATIONS:
        first, again = (augment(S, spec=SPEC, generator=torch.Generator("cuda").manual_seed(1)) for _ in range(2))
        assert first.is_cuda and torch.equal(first, again) and not torch.equal(first, S)


def pad_one(S, padding, spec):
    """(C, h + 2 padding, w + 2 padding) of one sample, cell by cell from its four mirror images."""
    height, width = S.shape[-2:]
    images = {name: symmetry.apply(S, name, spec) for name in ("identity", "vflip", "hflip", "rot180")}
    padded = torch.empty(len(S), height + 2 * padding, width + 2 * padding, dtype=S.dtype)
    for row in range(padded.shape[1]):
        for column in range(padded.shape[2]):
            y, x = row - padding, column - padding
            name = {(0, 0): "identity", (1, 0): "vflip", (0, 1): "hflip", (1, 1): "rot180"}[
                not 0 <= y < height, not 0 <= x < width
            ]
            # Beyond a border lies the image mirrored there, whose near edge is at the border.
            padded[:, row, column] = images[name][:, y % height, x % width]
    return padded


@pytest.mark.parametrize("spec", [SPEC, ScatteringSpec(J=2, L=3)], ids=["even", "odd"])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_crops_are_windows_of_the_mirrored_map_equally_often(spec, padding):
    n, (height, width) = 100 * (2 * padding + 1) ** 2, (4, 5)
    S = torch.rand(1, spec.n_channels, height, width, generator=generator(5))
    padded = pad_one(S[0], padding, spec)
    windows = [padded[:, y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    cropped = GridCrop(padding)(S.expand(n, -1, -1, -1), spec=spec, generator=generator(6))
    assert cropped.dtype == S.dtype
    counts = torch.stack([(cropped == window).flatten(1).all(1).sum() for window in windows])
    assert counts.sum() == n
    # Five standard deviations.
    assert padding == 0 or ((counts - 100).abs() < 50).all()


@pytest.mark.parametrize("padding", [-1, 0.5, None])
def test_padding_is_a_number_of_cells(padding):
    with pytest.raises(ValueError, match=r"padding is .*: expected a number of cells"):
        GridCrop(padding)


def test_padding_beyond_the_map_is_refused():
    with pytest.raises(ValueError, match="padding is 3: expected at most the 2x2 cells"):
        GridCrop(3)(samples(1), spec=SPEC, generator=generator())


def test_composed_augmentations_draw_one_after_the_other():
    S, both = samples(40), generator(8)
    expected = RandomFlip()(GridCrop()(S, spec=SPEC, generator=both), spec=SPEC, generator=both)
    assert torch.equal(Compose([GridCrop(), RandomFlip()])(S, spec=SPEC, generator=generator(8)), expected)
    assert torch.equal(Compose([])(S, spec=SPEC, generator=generator()), S)


@pytest.mark.parametrize("grid", ["kymatio", "centered"])
def test_mirrored_cells_are_nearer_to_the_reflected_image_than_others(grid):
    """On photographs, over the cells beyond a border, against the transform of images padded by np.pad and cropped."""
    pytest.importorskip("skimage")
    spec = ScatteringSpec(J=2, grid=grid)
    source = open_source("photos")
    keys = [row.key for row in source.find("all").listing.rows][::8]
    images = np.stack([np.asarray(decode(read_key(source, "all", key), size=None)) for key in keys])[:, :64, :64]
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    S = torch.from_numpy(compute(np.ascontiguousarray(images), spec))
    deviation = S.numpy().std((0, 2, 3))[:, None]
    squares = []
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        top, left = 4 + 4 * dy, 4 + 4 * dx
        expected = compute(np.ascontiguousarray(padded[:, top : top + 64, left : left + 64]), spec)
        beyond = (..., -(dy > 0), slice(None)) if dy else (..., slice(None), -(dx > 0))
        within = (..., 1 if dy < 0 else -2, slice(None)) if dy else (..., slice(None), 1 if dx < 0 else -2)
        mirrored = shift_cells(S, torch.full((len(S),), dy), torch.full((len(S),), dx), spec)
        found = (mirrored[beyond], S[beyond], S[within])
        squares.append([(((one.numpy() - expected[beyond]) / deviation) ** 2).mean() for one in found])
    mirrored, repeated, reflected = np.mean(squares, 0) ** 0.5
    assert mirrored < repeated < reflected and mirrored < {"kymatio": 0.75, "centered": 0.6}[grid] * reflected


def test_shifts_of_pooled_maps_are_refused_and_flips_are_not():
    spec = ScatteringSpec(J=2, L=4, grid="centered", reduction=Reduction(2, "mean"))
    S, generator = torch.rand(4, spec.n_channels, 2, 2), torch.Generator()
    with pytest.raises(ValueError, match=r"maps are pooled to 2x2 cells.*leave GridCrop out"):
        scatcache.GridCrop()(S, spec=spec, generator=generator)
    for augment in (scatcache.RandomFlip(1.0), scatcache.RandomQuarterTurn()):
        assert augment(S, spec=spec, generator=generator).shape == S.shape
    flipped = scatcache.RandomFlip(1.0)(S, spec=spec, generator=generator)
    assert torch.equal(flipped, torch.from_numpy(scatcache.symmetry.apply(S.numpy(), "hflip", spec)))


def test_shifts_of_averaged_angles_are_those_of_every_angle():
    spec = ScatteringSpec(J=2, L=4, grid="centered", reduction=Reduction(None, "mean"))
    whole = torch.rand(3, spec.whole.n_paths, 4, 4, dtype=torch.float64)
    arguments = {"generator": torch.Generator().manual_seed(0)}
    shifted = scatcache.GridCrop()(whole, spec=replace(spec.whole, colours=1), **arguments)
    arguments = {"generator": torch.Generator().manual_seed(0)}
    found = scatcache.GridCrop()(average_angles(whole, spec), spec=replace(spec, colours=1), **arguments)
    torch.testing.assert_close(found, average_angles(shifted, spec))
