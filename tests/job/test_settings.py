import pytest

from scatcache.job.settings import RunOptions


def test_defaults_are_accepted():
    assert RunOptions() == RunOptions("auto", "auto", None, False, None, None, "skip")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("device", "tpu", "auto, cpu, cuda"),
        ("on_error", "ignore", "skip, fail"),
        ("workers", 0, "at least 1"),
        ("workers", -2, "at least 1"),
        ("decode_threads", 0, "at least 1"),
    ],
)
def test_values_out_of_range_are_named_with_what_is_expected(name, value, expected):
    with pytest.raises(ValueError, match=f"{name} is {value!r}.*expected.*{expected}"):
        RunOptions(**{name: value})
