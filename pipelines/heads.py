"""The networks that the poster puts behind the scattering transform, on (B, n_channels, h, w) coefficients.

Numbers of channels come from a cache's spec. What was recalled and not read in the authors' code is said to be so.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import scatcache
from pipelines.checkpoint import load_weights


class SquareRoot(nn.Module):
    """sqrt(S), that of rounding's small negative numbers being 0: coefficients spread over several powers of ten."""

    def forward(self, S: torch.Tensor) -> torch.Tensor:
        return S.clamp(min=0).sqrt()


def linear(row_shape: tuple[int, int, int], n_classes: int) -> nn.Sequential:
    """A linear classifier on the square roots of all coefficients of row_shape (n_channels, h, w), its weights 0 first.

    Channels are standardised by the mean and the deviation of all batches seen in training.
    """
    channels, height, width = row_shape
    classifier = nn.Linear(channels * height * width, n_classes)
    nn.init.zeros_(classifier.weight)
    normalise = nn.BatchNorm2d(channels, affine=False, momentum=None)
    return nn.Sequential(SquareRoot(), normalise, nn.Flatten(), classifier)


def fully_connected(
    row_shape: tuple[int, int, int], n_classes: int, *, width: int = 11_000, n_layers: int = 3, dropout: float = 0.0
) -> nn.Sequential:
    """Hidden layers with batch normalisation and ReLU on all coefficients of row_shape (n_channels, h, w)."""
    channels, height, columns = row_shape
    layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False), nn.Flatten()]
    n_inputs = channels * height * columns
    for _ in range(n_layers):
        layers += [nn.Linear(n_inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(dropout)] if dropout else []
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_classes))


class Block(nn.Module):
    """A basic residual block, normalised after each convolution: ReLU(F(x) + shortcut(x))."""

    def __init__(self, n_inputs: int, n_outputs: int, *, stride: int = 1, dropout: float = 0.0):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(n_inputs, n_outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_outputs),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_outputs),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or n_inputs != n_outputs:
            convolution = nn.Conv2d(n_inputs, n_outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(n_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


def residual(
    n_channels: int,
    n_classes: int,
    *,
    stem: int,
    widths: Sequence[int],
    strides: Sequence[int],
    dropout: float = 0.0,
) -> nn.Sequential:
    """BN without weights, a 3x3 convolution to stem channels, BN, ReLU, two blocks of each width, mean, linear.

    strides: of the first block of each width.
    """
    convolution = nn.Conv2d(n_channels, stem, 3, padding=1)
    layers: list[nn.Module] = [nn.BatchNorm2d(n_channels, affine=False), convolution]
    layers += [nn.BatchNorm2d(stem), nn.ReLU(inplace=True)]
    n_inputs = stem
    for width, stride in zip(widths, strides, strict=True):
        layers += [Block(n_inputs, width, stride=stride, dropout=dropout), Block(width, width, dropout=dropout)]
        n_inputs = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_inputs, n_classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def cifar_wrn(n_channels: int, n_classes: int, *, k: int, dropout: float = 0.0) -> nn.Sequential:
    """The wide residual network of CIFAR-10, all at 8x8: 16k, then two blocks of 32k and two of 64k."""
    return residual(n_channels, n_classes, stem=16 * k, widths=(32 * k, 64 * k), strides=(1, 1), dropout=dropout)


def stl_wrn(n_channels: int, n_classes: int, *, k: int, dropout: float = 0.0) -> nn.Sequential:
    """That of STL-10: 32k at 24x24, two blocks of 32k there and two of 64k at 12x12."""
    return residual(n_channels, n_classes, stem=32 * k, widths=(32 * k, 64 * k), strides=(1, 2), dropout=dropout)


def resnet10(n_channels: int, n_classes: int, *, width: int = 256) -> nn.Sequential:
    """That of ImageNet with J=3: 256 at 28x28, two blocks of 256 there and two of 512 at 14x14."""
    return residual(n_channels, n_classes, stem=width, widths=(width, 2 * width), strides=(1, 2))


class SLE(nn.Module):
    """The shared local encoder: three 1x1 convolutions, the same at each position, then two hidden layers and a linear.

    n_positions: h w of the coefficients. local: F1 to F3, F1's weights being local[1].weight (width, n_channels, 1, 1).
    That the encoder's maps go into the hidden layers whole, and not averaged over positions, is recalled.
    """

    def __init__(self, n_channels: int, n_positions: int, n_classes: int, *, width: int = 1024, hidden: int = 1524):
        super().__init__()
        self.n_channels, self.n_positions = n_channels, n_positions
        layers: list[nn.Module] = [nn.BatchNorm2d(n_channels, affine=False)]
        for n_inputs in (n_channels, width, width):
            convolution = nn.Conv2d(n_inputs, width, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.local = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(width * n_positions, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
            *(nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
        )
        self.classifier = nn.Linear(hidden, n_classes)

    def encode(self, S: torch.Tensor) -> torch.Tensor:
        """(B, hidden): what the last hidden layer gives, the features for other tasks."""
        return self.hidden(self.local(S))

    def forward(self, S: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.encode(S))


def load_sle(path: Path) -> SLE:
    """A shared local encoder from the weights that `python -m pipelines.imagenet --system sle --save-model` keeps.

    Raises ScatcacheError where the file holds other weights.
    """
    weights = load_weights(path)
    try:
        width, n_channels = weights["local.1.weight"].shape[:2]
        hidden, n_inputs = weights["hidden.1.weight"].shape
        n_classes = len(weights["classifier.weight"])
    except (KeyError, ValueError, AttributeError) as error:
        raise scatcache.ScatcacheError(
            f"{path.name} has no {error}: expected the weights of a shared local encoder, as "
            f"`python -m pipelines.imagenet --system sle --save-model` keeps them"
        ) from error
    model = SLE(n_channels, n_inputs // width, n_classes, width=width, hidden=hidden)
    model.load_state_dict(weights)
    return model


class Features(nn.Module):
    """The features of a trained encoder, held fixed: its weights and its normalisation never change."""

    def __init__(self, encoder: SLE):
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Features":
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, S: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.encoder.encode(S)
