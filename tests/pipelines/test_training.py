from dataclasses import replace

import pytest
import torch
from torch import nn

from pipelines.training import Training

STEPS = 4


def test_learning_rate_drops_before_the_epochs_named():
    training = Training(epochs=6, batch_size=1, lr=1.0, drops=(2, 4), drop_factor=0.2)
    rates = [training.lr_at(epoch * STEPS, STEPS) for epoch in range(6)]
    assert rates == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])
    assert training.lr_at(2 * STEPS - 1, STEPS) == 1


def test_cosine_is_that_of_torch():
    training = Training(epochs=3, batch_size=1, lr=0.3, drops=None)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3 * STEPS)
    for step in range(3 * STEPS):
        assert training.lr_at(step, STEPS) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_drops_move_with_the_number_of_epochs(options):
    training = Training(epochs=200, batch_size=128, lr=0.1, drops=(60, 120, 160))
    asked = training.asked(replace(options, smoke=False, epochs=20))
    assert asked == replace(training, epochs=20, drops=(6, 12, 16))
    assert training.asked(replace(options, smoke=False)) == training
    rates = [training.asked(replace(options, smoke=False, epochs=1)).lr_at(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.1] * 3 + [0.02] * 3 + [0.004] * 2 + [0.0008] * 2)


def test_test_part_is_looked_at_a_few_times_and_in_the_end():
    training = Training(epochs=205, batch_size=1, lr=1, n_evaluations=20)
    looked_at = [epoch for epoch in range(205) if training.is_evaluated(epoch)]
    assert looked_at[0] == 9 and looked_at[-1] == 204 and len(looked_at) == 21
    assert all(Training(epochs=5, batch_size=1, lr=1).is_evaluated(epoch) for epoch in range(5))
