import pytest
import torch

from pipelines.metrics import accuracy, class_accuracy, top5_accuracy

SCORES = torch.tensor([[9.0, 8, 7, 6, 5, 4], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])


def test_accuracy_counts_highest_scores():
    assert accuracy(SCORES, torch.tensor([0, 5, 4, 0])) == {"accuracy": 50.0}


def test_top5_accuracy_counts_the_five_highest():
    assert top5_accuracy(SCORES, torch.tensor([4, 5, 1, 0]))["top5_accuracy"] == 75.0
    assert top5_accuracy(SCORES[:, :3], torch.tensor([2, 2, 2, 0]))["top5_accuracy"] == 100.0


def test_class_accuracy_is_the_mean_over_classes():
    found = class_accuracy(SCORES, torch.tensor([0, 5, 5, 1]))
    assert found == {"accuracy": 75.0, "class_accuracy": pytest.approx((100 + 100 + 0) / 3)}
