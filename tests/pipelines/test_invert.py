import numpy as np
import pytest
import torch
from PIL import Image

import scatcache
from pipelines.invert import Inversion, is_looked_at, measure_psnr


def make_noise(path, n_images=4):
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, 16, 16, 3), dtype=np.uint8)
    scatcache.extract(list(zip(pixels, [0] * n_images, strict=True)), name="noise", version="1", J=2, out=path)
    return pixels, scatcache.open_cache(path)


def test_smoke_run_comes_nearer_to_the_images(run):
    ended = run("invert", "--smoke")
    assert ended.code == 0, ended.err
    (one,) = ended.report["runs"]
    assert one["psnr"] > one["psnr_start"] + 3
    by_iteration = one["psnr_by_iteration"]
    assert list(by_iteration) == ["0", "1", "2", "5", "10", "20"]
    assert one["psnr"] == pytest.approx(np.median(by_iteration["20"])) and one["psnr_worst"] == min(by_iteration["20"])
    with Image.open(ended.folder / "invert-photos-J2-smoke-seed0.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
    assert sorted(path.suffix for path in ended.folder.iterdir()) == [".json", ".png"]
    short, long = (one.report["summary"] for one in (run("invert", "--smoke", "--epochs", 3, results="short"), ended))
    assert long["psnr"]["mean"] > short["psnr"]["mean"] + 1
    assert all(long[f"error_order_{m}"]["mean"] < short[f"error_order_{m}"]["mean"] for m in (1, 2))


def test_same_seed_gives_the_same_images_and_another_others(run):
    first, again, other = (
        run("invert", "--smoke", "--epochs", 3, "--start", "noise", "--seed", seed, results=name).report["runs"][0]
        for seed, name in ((1, "first"), (1, "again"), (2, "other"))
    )
    assert first["psnr_by_iteration"] == again["psnr_by_iteration"] != other["psnr_by_iteration"]


def test_true_images_have_the_stored_coefficients(tmp_path):
    pixels, cache = make_noise(tmp_path / "noise.zarr")
    inversion = Inversion(cache, np.arange(4), start="order-0", seed=0, device="cpu")
    assert min(inversion.measure_errors()[1:]) > 0.1
    inversion._begin = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float() / 255
    assert max(inversion.measure_errors()) < 1e-3


def test_start_is_order_0_or_seeded_noise(tmp_path):
    _, cache = make_noise(tmp_path / "noise.zarr")
    smooth, noise, other = (
        Inversion(cache, np.arange(4), start=start, seed=seed, device="cpu").images.detach()
        for start, seed in (("order-0", 0), ("noise", 0), ("noise", 1))
    )
    order_0 = cache.coefficients(slice(None)).reshape(4, 3, -1, 4, 4)[:, :, 0].astype(np.float32)
    np.testing.assert_allclose(smooth.mean((2, 3)), order_0.mean((2, 3)), atol=0.02)
    assert smooth.std() < noise.std() / 2 and not torch.equal(noise, other)


def test_an_image_does_not_depend_on_its_neighbours(tmp_path):
    _, cache = make_noise(tmp_path / "noise.zarr")
    together, alone = (
        Inversion(cache, np.array(rows), start="order-0", seed=0, device="cpu") for rows in ([0, 1], [1])
    )
    for inversion in (together, alone):
        assert list(inversion.descend(5, lr=1.0)) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(together.images.detach()[1], alone.images.detach()[0], atol=1e-3)


def test_psnr_is_its_definition():
    truth = np.zeros((2, 4, 4, 3), np.uint8)
    images = np.stack([np.full((4, 4, 3), 0.1), np.zeros((4, 4, 3))])
    np.testing.assert_allclose(measure_psnr(images, truth), [20, 100])


def test_iterations_looked_at_are_spaced_evenly_on_a_logarithmic_scale():
    assert [i for i in range(1001) if is_looked_at(i)] == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


@pytest.mark.parametrize("flag", ["--validate", "--permute-labels"])
def test_options_about_labels_are_refused(run, flag):
    ended = run("invert", "--smoke", flag)
    assert ended.code == 2 and flag in ended.err


def test_cifar10_rows_are_inverted(run, cifar10_root, tmp_path):
    arguments = ("--root", cifar10_root, "--stores", tmp_path, "--limit", 64, "--images", 3, "--epochs", 40)
    ended = run("invert", *arguments)
    assert ended.code == 0, ended.err
    (one,) = ended.report["runs"]
    assert ended.report["recipe"] == "invert-cifar10-J2" and one["psnr"] > one["psnr_start"] + 4
