"""The datasets that extract knows by name."""

from scatcache.images.named_datasets import DATASETS


def sources() -> dict[str, str]:
    """One line on each named dataset: its splits, and the files it is read from."""
    return {name: dataset.description for name, dataset in DATASETS.items()}
