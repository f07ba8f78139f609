"""A linear classifier on the cached coefficients of all of CIFAR-10; the README shows this program."""

import torch
from torch import nn

import scatcache

torch.manual_seed(0)
train, test = (scatcache.open_cache("cifar10-J2.zarr", split=split) for split in ("train", "test"))
mean, std = (torch.tensor(x).float()[:, None, None] for x in (train.channel_mean, train.channel_std))
model = nn.Linear(train.spec.n_channels * 8 * 8, 10)
nn.init.zeros_(model.weight)
n_epochs, loader = 5, train.loader(batch_size=128, shuffle=True)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * len(loader))
for _ in range(n_epochs):
    for S, y in loader:
        loss = nn.functional.cross_entropy(model(((S - mean) / std).flatten(1)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
with torch.no_grad():
    right = sum((model(((S - mean) / std).flatten(1)).argmax(1) == y).sum().item() for S, y in test.loader(1000))
print(f"test accuracy {100 * right / len(test):.2f}%")
