import gc
import pickle

import pytest

from scatcache.errors import ScatcacheError
from scatcache.job.sharing import forget, share
from scatcache.job.store_folder import StoreFolder


class Source:
    """Counts how often it was unpickled."""

    n_unpickled = 0

    def __init__(self):
        self.images = b"an empty state is not set"

    def __setstate__(self, state):
        type(self).n_unpickled += 1
        self.__dict__.update(state)


def test_every_message_of_this_process_holds_the_one_object():
    """Dask keeps old messages, and the value may be nothing that can be pickled."""
    with share(lambda: None, here=True) as shared:
        messages = [pickle.loads(pickle.dumps(shared)) for _ in range(3)]
        assert all(message is shared for message in messages)


@pytest.mark.parametrize("here", [True, False])
def test_a_message_is_small_whatever_it_shares(tmp_path, here):
    with share(bytes(10**6), here=here, folder=tmp_path) as shared:
        assert len(pickle.dumps(shared)) < 500


def test_elsewhere_it_is_unpickled_once_and_on_first_use(tmp_path):
    with share(Source(), here=False, folder=tmp_path) as shared:
        message = pickle.dumps(shared)
        gc.collect()
        Source.n_unpickled = 0
        arrived = [pickle.loads(message) for _ in range(3)]
        assert Source.n_unpickled == 0
        assert len({id(shared.value) for shared in arrived}) == 1
        assert pickle.loads(pickle.dumps(arrived[0])).value is arrived[0].value
        assert Source.n_unpickled == 1


def test_it_stays_between_two_tasks_and_goes_with_the_run(tmp_path):
    with share(Source(), here=False, folder=tmp_path) as shared:
        message, token = pickle.dumps(shared), shared.token
        Source.n_unpickled = 0
        for _ in range(2):
            assert pickle.loads(message).value is not None
            gc.collect()
        assert Source.n_unpickled == 1
        forget(token)
        gc.collect()
        assert pickle.loads(message).value is not None and Source.n_unpickled == 2
    forget(token)
    gc.collect()
    with pytest.raises(ScatcacheError, match="is gone: the run is over"):
        pickle.loads(message).value


def test_nothing_is_left_in_the_folder_not_even_of_a_killed_run(tmp_path):
    folder = StoreFolder(tmp_path / "a.zarr")
    folder.job.mkdir()
    with share(Source(), here=False, folder=folder.job):
        # As if it were killed now: the next run, of whatever kind, cleans STORE.job.
        (left,) = folder.job.iterdir()
        folder.clean([])
        assert not left.exists()
        left.touch()
    assert list(folder.job.iterdir()) == []
