import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow
import pytest

import scatcache
from scatcache.errors import UnreadableImage
from scatcache.images.catalogue import open_source
from scatcache.images.kinds import group_copies, parquet_part
from tests.images.kinds.test_parquet import IMAGES, STRUCT, write


@pytest.fixture
def table(tmp_path):
    """25 images in row groups of 10, one row of them without."""
    rows = [{"bytes": data, "path": None} for data in IMAGES]
    return write(tmp_path / "root/train-0.parquet", image=pyarrow.array([*rows[:7], None, *rows[8:]], STRUCT))


@pytest.fixture
def reads(monkeypatch):
    """The row groups read from tables so far."""
    found = []

    def read(file, group, path):
        found.append(group)
        yield from read_images(file, group, path)

    read_images = parquet_part.read_images_of
    monkeypatch.setattr(parquet_part, "read_images_of", read)
    return found


def open_part(table, job, **options):
    return open_source(table.parent, work_dir=job, **options).find("train")


def read_all(part):
    groups = [[5, 0, 7], [9], [10, 19], [24], [2, 3], [20]]
    with ThreadPoolExecutor(4) as pool:
        return [image for found in pool.map(part.read_block, groups) for image in found]


def check(images):
    assert [str(image) for image in images if isinstance(image, UnreadableImage)] == ["the row holds no image"]
    assert [image for image in images if isinstance(image, bytes)] == [
        IMAGES[i] for i in (5, 0, 9, 10, 19, 24, 2, 3, 20)
    ]


def test_each_row_group_is_read_once_and_its_copy_after_that(table, tmp_path, reads):
    part = open_part(table, tmp_path / "job")
    check(read_all(part))
    check(read_all(part))
    check(read_all(pickle.loads(pickle.dumps(part))))
    check(read_all(open_part(table, tmp_path / "job")))
    assert sorted(reads) == [0, 1, 2]
    names = sorted(os.listdir(tmp_path / "job"))
    assert len(names) == 3 and all(name.endswith(".images") for name in names)
    assert part.read(12) == IMAGES[12]
    with pytest.raises(UnreadableImage, match="holds no image"):
        part.read(7)


@pytest.mark.parametrize("damage", ["cut", "longer", "text", "another table"])
def test_a_copy_that_is_not_whole_or_of_another_table_is_made_anew(table, tmp_path, reads, damage):
    read_all(open_part(table, tmp_path / "job"))
    copy = sorted((tmp_path / "job").iterdir())[0]
    data = copy.read_bytes()
    copy.write_bytes({"cut": data[:-1], "longer": data + b"x", "text": b"text"}.get(damage, data))
    if damage == "another table":
        os.utime(table, ns=(1, 1))
    check(read_all(open_part(table, tmp_path / "job")))
    assert sorted(reads) == ([0, 0, 1, 1, 2, 2] if damage == "another table" else [0, 0, 1, 2])
    assert copy.read_bytes()[32:] == data[32:]


@pytest.mark.parametrize("failure", [errno.EACCES, errno.ENOSPC])
def test_without_a_place_for_copies_the_table_is_read(table, tmp_path, monkeypatch, failure):
    def refuse(*_):
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(group_copies, "_write", refuse)
    part = open_part(table, tmp_path / "job")
    check(read_all(part))
    assert [part.read(i) for i in (24, 0, 23, 1)] == [IMAGES[i] for i in (24, 0, 23, 1)]


def test_nothing_is_copied_for_a_plan_nor_where_groups_are_small_nor_by_single_reads(table, tmp_path):
    job = tmp_path / "job"
    check(read_all(open_part(table, job, beside=False)))
    part = open_part(table, job)
    assert [part.read(i) for i in range(20, 25)] == IMAGES[20:]
    small = write(tmp_path / "other/train-0.parquet", group=4)
    assert open_part(small, job).read_block([5, 4]) == [IMAGES[5], IMAGES[4]]
    assert not job.exists()


def test_a_disk_without_room_is_told_and_left_alone(table, tmp_path, monkeypatch):
    monkeypatch.setattr(group_copies, "_SHARE", 0.0)
    source = open_source(table.parent, work_dir=tmp_path / "job")
    assert source.find("train").copies is None
    assert "lie in row groups of 8, each read up to as many times: free" in source.warnings[0]


def test_a_store_made_of_a_table_is_that_of_the_files(table, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number, data in enumerate(IMAGES):
        (folder / f"{number:05d}.jpg").write_bytes(data if number != 7 else b"")
    stores = []
    for source in (table.parent, folder):
        store = tmp_path / f"{source.name}.zarr"
        report = scatcache.extract(source, J=1, L=2, out=store)
        assert len(report.unreadable) == 1
        stores.append(scatcache.open_cache(store))
    (made, plain), rows = stores, [i for i in range(25) if i != 7]
    assert made.coefficients(rows).tobytes() == plain.coefficients(rows).tobytes()
    assert made.labels.tolist() == [i % 3 for i in range(25)] and made.classes == ("0", "1", "2")
    assert len(list((tmp_path / "root.zarr.job").glob("*.images"))) == 3
    assert scatcache.resume(tmp_path / "root.zarr").state == "complete"
