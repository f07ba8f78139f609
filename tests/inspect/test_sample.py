import pytest

from scatcache.inspect.sample import find_rate


@pytest.mark.parametrize(
    ("finished", "rate"),
    [
        # One worker: what the first shard took is left out.
        ([(3.0, 10), (4.0, 10), (5.0, 10)], 10),
        # Two workers, of whom one has nothing to do in the last round.
        ([(2.0, 10), (2.0, 10), (3.0, 10), (3.0, 10), (4.0, 10)], 20),
        # One round, half a round more, and less than one: from the start.
        ([(2.0, 10), (2.0, 10)], 10),
        ([(2.0, 10), (2.0, 10), (3.0, 10)], 10),
        ([(0.5, 3)], 6),
    ],
)
def test_a_rate_is_that_of_all_workers_at_work(finished, rate):
    n_workers = 1 if finished[0] == (3.0, 10) else 2
    assert find_rate(finished, n_workers) == pytest.approx(rate)
