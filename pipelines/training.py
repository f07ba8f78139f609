"""How a network is trained: the numbers of a recipe, and the learning rate they give at each step."""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from pipelines.recipe import Options

SMOKE_EPOCHS, SMOKE_BATCH = 2, 16


@dataclass(frozen=True)
class Training:
    """The hyperparameters of a run.

    optimizer: "sgd", with Nesterov's momentum, or "adam", with decoupled weight decay (AdamW); drops: the epochs before
    which the learning rate is multiplied by drop_factor, None for a cosine from lr to 0; n_evaluations: how often the
    test part is looked at on the way, for the curve alone: what is reported is the last epoch, whatever came before.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    drops: tuple[int, ...] | None = None
    drop_factor: float = 0.2
    n_evaluations: int = 20

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs."""
        if self.drops is None:
            return self.lr * (1 + math.cos(math.pi * step / (self.epochs * steps_per_epoch))) / 2
        return self.lr * self.drop_factor ** sum(step >= drop * steps_per_epoch for drop in self.drops)

    def is_evaluated(self, epoch: int) -> bool:
        """Whether the test part is looked at after this epoch, counted from 0; always after the last."""
        every = max(1, self.epochs // self.n_evaluations)
        return epoch + 1 == self.epochs or (epoch + 1) % every == 0

    def stretched(self, epochs: int) -> "Training":
        """The same over another number of epochs, the drops in proportion."""
        drops = None if self.drops is None else tuple(round(drop * epochs / self.epochs) for drop in self.drops)
        return replace(self, epochs=epochs, drops=drops)

    def asked(self, options: Options) -> "Training":
        """With the epochs that the command line asks for; two epochs of small batches with --smoke."""
        epochs = options.epochs or (min(SMOKE_EPOCHS, self.epochs) if options.smoke else self.epochs)
        training = self if epochs == self.epochs else self.stretched(epochs)
        return replace(training, batch_size=min(SMOKE_BATCH, self.batch_size)) if options.smoke else training

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.AdamW(weights, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            weights,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,
        )
