"""What is said of scores on the test rows; every figure in percent."""

from collections.abc import Callable

import torch

# Of scores (n, n_classes) float32 and labels (n,) int64, both on the CPU.
Measure = Callable[[torch.Tensor, torch.Tensor], dict[str, float]]


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """accuracy: how many labels have the highest score."""
    return {"accuracy": percent(scores.argmax(1) == labels)}


def top5_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """accuracy, and top5_accuracy: how many labels are among the five highest scores."""
    best = scores.topk(min(5, scores.shape[1])).indices
    return {**accuracy(scores, labels), "top5_accuracy": percent((best == labels[:, None]).any(1))}


def class_accuracy(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """accuracy, and class_accuracy: the mean over the classes that occur of each one's accuracy."""
    right = scores.argmax(1) == labels
    by_class = [percent(right[labels == label]) for label in labels.unique()]
    return {**accuracy(scores, labels), "class_accuracy": sum(by_class) / len(by_class)}


def percent(right: torch.Tensor) -> float:
    return 100 * right.double().mean().item()
