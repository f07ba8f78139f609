import os
import pickle
from functools import partial

from scatcache.images.kinds.arrays.image_array import OpenedHere


def test_what_is_open_is_opened_anew_after_a_fork_and_where_it_is_unpickled(monkeypatch):
    opened = OpenedHere(partial(list, "ab"))
    first = opened.get()
    assert opened.get() is first
    copy = pickle.loads(pickle.dumps(opened))
    assert copy.get() == first and copy.get() is not first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert opened.get() == first and opened.get() is not first
