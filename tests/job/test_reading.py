import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images.limits import TooLarge
from scatcache.images.source import Listing, Location
from scatcache.job import reading
from scatcache.job.reading import ShardReads, cut_windows

MEGABYTE = 2**20


class Archive:
    """A part whose images lie in archives, or not; remembers what was read, in which thread."""

    def __init__(self, places, failing=None, sizes=None):
        self.places, self.failing, self.reads = places, failing or {}, []
        sizes = sizes or [len(f"image {i:03d}") for i in range(len(places))]
        self.listing = Listing((f"{i:03d}", -1, n_bytes) for i, n_bytes in enumerate(sizes))

    def locate(self, i):
        return self.places[i]

    def read(self, i):
        self.reads.append((i, threading.current_thread().name))
        if i in self.failing:
            raise self.failing[i]
        return f"image {i:03d}".encode()


def make_places(n: int, n_bytes: int) -> list[Location]:
    offsets = np.random.default_rng(0).permutation(n) * n_bytes
    return [Location("a.tar", int(offset), n_bytes) for offset in offsets]


def test_images_of_an_archive_are_read_in_its_order_whatever_order_they_are_asked_for():
    places = make_places(50, 1000)
    part = Archive(places)
    with ShardReads(part, "all", range(50)) as reads:
        assert [reads.read(i) for i in range(50)] == [f"image {i:03d}".encode() for i in range(50)]
    assert [i for i, _ in part.reads] == sorted(range(50), key=lambda i: places[i])


def test_images_of_several_files_are_read_file_by_file():
    places = [Location("b" if i % 2 else "a", 100 - i, 1) for i in range(6)]
    part = Archive(places)
    with ShardReads(part, "all", range(6)) as reads:
        assert reads.read(0) == b"image 000"
    assert [i for i, _ in part.reads] == [4, 2, 0, 5, 3, 1]


def test_large_shards_are_read_window_by_window_and_no_more_than_two_ahead(monkeypatch):
    monkeypatch.setattr(reading, "WINDOW_BYTES", 10 * MEGABYTE)
    places = make_places(40, MEGABYTE)
    part = Archive(places)
    with ShardReads(part, "all", range(40)) as reads:
        for i in range(40):
            reads.read(i)
            assert len(part.reads) <= 10 * (i // 10 + 2)
    windows = [[i for i, _ in part.reads[start : start + 10]] for start in range(0, 40, 10)]
    assert windows == [sorted(range(start, start + 10), key=lambda i: places[i]) for start in range(0, 40, 10)]


def test_images_that_are_files_are_read_by_whoever_asks():
    part = Archive([None, None])
    with ShardReads(part, "all", range(2)) as reads:
        assert reads.read(1) == b"image 001"
    assert part.reads == [(1, threading.current_thread().name)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnreadableImage("too large"), UnreadableImage),
        (SourceError("truncated"), SourceError),
        (OSError(2, "No such file"), ScatcacheError),
        (OSError("no image"), UnreadableImage),
    ],
)
def test_what_one_image_raises_is_raised_for_it_alone(error, kind):
    with ShardReads(Archive(make_places(5, 10), {3: error}), "all", range(5)) as reads:
        with pytest.raises(kind):
            reads.read(3)
        assert reads.read(4) == b"image 004"


@pytest.mark.parametrize("placed", [True, False])
def test_an_image_of_another_size_than_listed_is_named_and_not_passed_on(placed):
    places = [Location("a", 0, 4), Location("a", 4, 9)] if placed else [None, None]
    with ShardReads(Archive(places, sizes=[4, 9]), "all", range(2)) as reads:
        with pytest.raises(SourceError, match=r"all: 000 changed .* 4 bytes when listed, 9 bytes now.*--overwrite"):
            reads.read(0)
        assert reads.read(1) == b"image 001"


def test_a_file_that_became_too_large_is_named_and_one_listed_so_is_unreadable():
    part = Archive([None, None], {0: TooLarge("a file of 9"), 1: TooLarge("a file of 9")}, [5, 2**29 + 1])
    with ShardReads(part, "all", range(2)) as reads:
        with pytest.raises(SourceError, match="000 changed while the job ran: 5 bytes"):
            reads.read(0)
        with pytest.raises(UnreadableImage):
            reads.read(1)


def test_leaving_early_reads_no_further(monkeypatch):
    monkeypatch.setattr(reading, "WINDOW_BYTES", 10)
    part, before = Archive(make_places(30, 10)), set(threading.enumerate())
    with ShardReads(part, "all", range(30)) as reads:
        reads.read(0)
    assert len(part.reads) <= 2 and not set(threading.enumerate()) - before


class Blocks(Archive):
    """A part whose images lie in blocks of three, which fail as a whole where their number is among failing."""

    def __init__(self, n_images, failing=None, sizes=None):
        super().__init__([None] * n_images, failing, sizes)

    def block(self, i):
        # Every image but the last lies in a block.
        return (len(self.places) - 2 - i) // 3 if i + 1 < len(self.places) else None

    def read_block(self, indices):
        self.reads.append((tuple(indices), threading.current_thread().name))
        if self.block(indices[0]) in self.failing:
            raise self.failing[self.block(indices[0])]
        return [UnreadableImage("void") if i == 7 else f"image {i:03d}".encode() for i in indices]


def test_images_of_a_block_are_read_together_and_once():
    part = Blocks(11)
    with ShardReads(part, "all", [9, 3, 8, 7, 0, 10]) as reads:
        assert [reads.read(i) for i in (0, 3, 8, 9, 10)] == [f"image {i:03d}".encode() for i in (0, 3, 8, 9, 10)]
        with pytest.raises(UnreadableImage, match="void"):
            reads.read(7)
    assert sorted(images for images, _ in part.reads if images != 10) == [(0,), (3,), (7, 8, 9)]


def test_as_many_blocks_are_read_at_once_as_a_part_says():
    part, barrier = Blocks(31), threading.Barrier(8, timeout=20)
    part.n_readers, read_block = 8, part.read_block
    part.read_block = lambda indices: (barrier.wait(), read_block(indices))[1]
    with ShardReads(part, "all", range(24)) as reads:
        assert reads.read(0) == b"image 000"


def test_blocks_are_read_in_the_order_of_the_storage_and_two_waves_ahead(monkeypatch):
    monkeypatch.setattr(reading, "N_BLOCK_THREADS", 1)
    monkeypatch.setattr(reading, "WINDOW_BYTES", 54)
    part = Blocks(31)
    with ShardReads(part, "all", range(30)) as reads:
        reads.read(26)
    found = [images for images, _ in part.reads]
    assert found == [(27, 28, 29), (24, 25, 26), (21, 22, 23), (18, 19, 20)][: len(found)] and len(found) > 1


@pytest.mark.parametrize("error", [SourceError("truncated"), OSError(2, "No such file")])
def test_what_a_block_raises_is_raised_for_its_images_alone(error):
    with ShardReads(Blocks(11, {0: error}), "all", range(10)) as reads:
        for i in (7, 8, 9):
            with pytest.raises(ScatcacheError, match=r"truncated|all: 007: No such file"):
                reads.read(i)
        assert reads.read(6) == b"image 006"


def test_an_image_of_a_block_of_another_size_than_listed_is_named():
    with ShardReads(Blocks(5, sizes=[9, 4, 0, 9, 9]), "all", range(5)) as reads:
        assert reads.read(0) == b"image 000" and reads.read(2) == b"image 002"
        with pytest.raises(SourceError, match="001 changed"):
            reads.read(1)


LOCATIONS = st.builds(Location, st.sampled_from("ab"), st.integers(0, 2**40), st.integers(0, 2**27))


@given(st.lists(st.one_of(st.none(), LOCATIONS)))
def test_windows_hold_each_image_once_within_their_bound_and_in_the_archives_order(places):
    windows = cut_windows(dict(enumerate(places)))
    assert sorted(i for window in windows for i in window) == [i for i, place in enumerate(places) if place]
    for window in windows:
        assert len(window) == 1 or sum(places[i].bytes for i in window) <= reading.WINDOW_BYTES
        assert [places[i][:2] for i in window] == sorted(places[i][:2] for i in window)
    for window, following in pairwise(windows):
        assert max(window) < min(following)
