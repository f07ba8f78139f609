import scatcache
from scatcache.images.named_datasets import DATASETS


def test_every_named_source_has_one_line():
    described = scatcache.sources()
    assert set(described) == set(DATASETS)
    assert all(line and "\n" not in line for line in described.values())


def test_caller_cannot_change_the_table():
    scatcache.sources().clear()
    assert scatcache.sources()
