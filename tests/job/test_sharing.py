import gc
import pickle

from scatcache.job.sharing import forget, share


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
    shared = share(lambda: None, here=True)
    messages = [pickle.loads(pickle.dumps(shared)) for _ in range(3)]
    assert all(message is shared for message in messages)


def test_a_message_is_small_whatever_it_shares():
    assert len(pickle.dumps(share(bytes(10**6), here=True))) < 300


def test_elsewhere_it_is_unpickled_once_and_on_first_use():
    message = pickle.dumps(share(Source(), here=False))
    gc.collect()
    Source.n_unpickled = 0
    arrived = [pickle.loads(message) for _ in range(3)]
    assert Source.n_unpickled == 0
    assert len({id(shared.value) for shared in arrived}) == 1
    assert pickle.loads(pickle.dumps(arrived[0])).value is arrived[0].value
    assert Source.n_unpickled == 1


def test_it_stays_between_two_tasks_and_goes_with_the_run():
    shared = share(Source(), here=False)
    message, token = pickle.dumps(shared), shared.token
    del shared
    Source.n_unpickled = 0
    for _ in range(2):
        assert pickle.loads(message).value is not None
        gc.collect()
    assert Source.n_unpickled == 1
    forget(token)
    gc.collect()
    assert pickle.loads(message).value is not None and Source.n_unpickled == 2
