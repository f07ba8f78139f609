"""The benchmark of extraction on a device measures what it says; here the device is the CPU."""

from tests.benchmarks.gpu_extraction import draw_photographs, measure_extraction


def test_every_rate_is_measured(tmp_path):
    rates = measure_extraction("cpu", n_images=4, size=32)
    assert rates.keys() == {"decode", "transform", "write", "whole", "backend"}
    assert all(rates[name] > 0 for name in ("decode", "transform", "write", "whole"))
    paths = draw_photographs(tmp_path, 66)
    assert paths[65].read_bytes() == paths[1].read_bytes() != paths[0].read_bytes()
