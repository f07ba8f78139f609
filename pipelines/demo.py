"""The first run: photographs to scattering coefficients to a linear classifier, on any machine, with no download.

Seven photographs are cut into 128 px crops; the classifier says which photograph a crop was cut from. A quarter of the
crops is held out. It proves that the whole path works here; it measures nothing about the transform.
"""

import time

import numpy as np
import torch
from torch import nn

import scatcache

STORE = "photos-J2.zarr"
N_EPOCHS = 15


def main() -> None:
    report = scatcache.extract("photos", out=STORE, J=2)
    print(f"extracted {report.splits['all'].rows} images into {report.store} ({report.bytes / 1e6:.1f} MB)")
    split = report.splits["all"]
    print(f"  {split.shards_computed} shards computed, {split.shards_kept} kept, ", end="")
    print(f"{report.elapsed_s:.1f} s" + (f", {report.images_per_s:.1f} images/s" if split.shards_computed else ""))

    cache = scatcache.open_cache(STORE)
    print(f"opened {cache}")
    order = np.random.default_rng(0).permutation(len(cache))
    held_out, kept = np.sort(order[: len(cache) // 4]), np.sort(order[len(cache) // 4 :])

    started = time.monotonic()
    model = train(cache, kept)
    print(f"trained a linear classifier on {len(kept)} crops, {N_EPOCHS} epochs, {time.monotonic() - started:.1f} s")
    for name, rows in (("training", kept), ("held-out", held_out)):
        print(f"  {100 * measure_accuracy(model, cache, rows):5.1f}% of the {name} crops named right, of {len(rows)}")
    commonest = np.bincount(cache.labels[held_out]).max() / len(held_out)
    print(f"  {100 * commonest:5.1f}% by always naming the commonest photograph")
    print("`. .venv/bin/activate` puts the command scatcache on your PATH; `scatcache --help` goes on from here")


def average(S: torch.Tensor, cache: scatcache.Cache) -> torch.Tensor:
    """(B, n_channels): each channel's mean over the crop, standardised over the dataset."""
    mean, std = (torch.tensor(values, dtype=S.dtype) for values in (cache.channel_mean, cache.channel_std))
    return (S.mean(dim=(2, 3)) - mean) / std


def train(cache: scatcache.Cache, rows: np.ndarray) -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(cache.spec.n_channels, len(cache.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loader = cache.loader(batch_size=32, shuffle=True, seed=0, rows=rows)
    for _ in range(N_EPOCHS):
        for S, y in loader:
            loss = nn.functional.cross_entropy(model(average(S, cache)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@torch.no_grad()
def measure_accuracy(model: nn.Module, cache: scatcache.Cache, rows: np.ndarray) -> float:
    """Fraction of rows whose label the model names."""
    loader = cache.loader(batch_size=64, rows=rows)
    right = sum(int((model(average(S, cache)).argmax(1) == y).sum()) for S, y in loader)
    return right / len(rows)


if __name__ == "__main__":
    main()
