"""Stores whose zarr.json is lost, damaged or altered: what mends them, and what does not."""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

import scatcache
from scatcache.errors import NotAStore, ScatcacheError, SettingsDiffer, StoreDamaged
from scatcache.job import extraction
from scatcache.job.events import JobPlanned, ShardFinished
from scatcache.job.run import JobRun
from scatcache.job.store_folder import StoreFolder
from scatcache.store.evidence import confirms, find_splits
from scatcache.store.format.summaries import finish_split
from scatcache.store.places.local import LocalPlace
from scatcache.store.records import index_path, summary_path
from tests.runs import call, find_differences, identify_finished, make_images
from tests.store.stores import copy_store, edit, flip

TYPED = {"J": 1, "L": 2, "seed": 3, "shard_images": 2}
COMMAND = ("--J", 1, "--L", 2, "--seed", 3, "--shard-images", 2)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for split, n_images in (("train", 5), ("test", 3)):
        make_images(folder / split, n_images, side=8)
    return folder


@pytest.fixture(scope="module")
def sound(images, tmp_path_factory) -> Path:
    """The finished store; read only."""
    out = tmp_path_factory.mktemp("sound") / "a.zarr"
    scatcache.extract(images, out=out, workers=1, **TYPED)
    return out


@pytest.fixture
def store(sound, tmp_path) -> Path:
    return copy_store(sound, tmp_path)


def cut(root: Path) -> None:
    edit(root, lambda data: data[: len(data) // 2])


def state(**fields):
    """Damage: other fields of the manifest."""

    def change(root: Path) -> None:
        document = json.loads(root.read_bytes())
        document["attributes"]["scatcache"].update(fields)
        root.write_text(json.dumps(document))

    return change


def forget(root: Path) -> None:
    document = json.loads(root.read_bytes())
    del document["attributes"]["scatcache"]
    root.write_text(json.dumps(document))


def make_fifo(root: Path) -> None:
    root.unlink()
    os.mkfifo(root)


DAMAGES = {
    "missing": Path.unlink,
    "cut": cut,
    "empty": lambda root: root.write_bytes(b""),
    "other settings": state(seed=4),
    "newer format": state(format=3),
    "huge format": state(format=10**30),
    "no manifest": forget,
    "deep": lambda root: root.write_bytes(b"[" * 100_000),
    "a FIFO": make_fifo,
}
FEW = ("missing", "cut", "other settings", "newer format", "a FIFO")
some_damage = pytest.mark.parametrize("damage", [DAMAGES[name] for name in FEW], ids=FEW)
each_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@each_damage
def test_the_same_command_makes_the_root_anew_and_keeps_every_shard(images, sound, store, damage):
    shutil.rmtree(f"{store}.job")
    finished = identify_finished(store)
    damage(store / "zarr.json")
    report = scatcache.extract(images, out=store, **TYPED)
    assert {split.shards_computed for split in report.splits.values()} == {0} and report.state == "complete"
    assert identify_finished(store) == finished and find_differences(sound, store) == []


@some_damage
def test_resume_and_a_shorter_command_take_the_copy_beside_the_store(images, sound, store, damage):
    damage(store / "zarr.json")
    assert scatcache.resume(store).state == "complete"
    assert find_differences(sound, store) == []
    damage(store / "zarr.json")
    assert call("extract", images, "--out", store).code == 0
    assert find_differences(sound, store) == []


@some_damage
def test_settings_that_are_not_the_receipts_are_refused(images, store, damage):
    shutil.rmtree(f"{store}.job")
    damage(store / "zarr.json")
    before = identify_finished(store)
    with pytest.raises((SettingsDiffer, NotAStore), match=r"not those of its receipts: give every setting|newer"):
        scatcache.extract(images, out=store, **TYPED | {"seed": 5})
    with pytest.raises((StoreDamaged, NotAStore), match=r"extract|newer"):
        scatcache.resume(store)
    assert identify_finished(store) == before


def test_a_copy_that_no_receipt_confirms_is_not_taken(store):
    copy = Path(f"{store}.job/manifest.json")
    fields = json.loads(copy.read_bytes()) | {"seed": 4}
    copy.write_text(json.dumps(fields))
    (store / "zarr.json").unlink()
    with pytest.raises(StoreDamaged, match=r"zarr\.json is missing"):
        scatcache.resume(store)


@pytest.mark.parametrize("damage", [Path.unlink, cut, forget], ids=["missing", "cut", "no manifest"])
def test_the_commands_say_what_to_type_for_a_lost_root(images, store, damage):
    shutil.rmtree(f"{store}.job")
    damage(store / "zarr.json")
    for ask in (scatcache.info, scatcache.resume, lambda path: scatcache.open_cache(path, "train")):
        with pytest.raises(StoreDamaged, match="give the `scatcache extract` command that made it"):
            ask(store)
    verified = call("verify", store)
    assert verified.code == 4 and verified.out.startswith("zarr.json: ") and "scatcache extract" in verified.out
    assert call("extract", images, "--out", store, "--seed", 3).code in (1, 2)
    assert call("extract", images, "--out", store, *COMMAND).code == 0
    assert call("verify", store).code == 0


@some_damage
def test_overwrite_takes_a_folder_that_its_receipts_show_to_be_ours_and_deletes_no_more(images, sound, store, damage):
    shutil.rmtree(f"{store}.job")
    damage(store / "zarr.json")
    (store / "notes.txt").write_text("mine")
    (store / "mine").mkdir()
    assert scatcache.extract(images, out=store, overwrite=True, **TYPED).state == "complete"
    assert (store / "notes.txt").read_text() == "mine" and (store / "mine").is_dir()
    (store / "notes.txt").unlink()
    (store / "mine").rmdir()
    assert find_differences(sound, store) == []


@pytest.mark.parametrize("n_calls", range(5))
@pytest.mark.parametrize("damage", [cut, None], ids=["cut", "sound"])
def test_an_overwrite_killed_while_it_deletes_is_told_for_ours(images, sound, store, monkeypatch, damage, n_calls):
    if damage is not None:
        damage(store / "zarr.json")
    calls = []

    def die_at(function):
        def step(*args, **options):
            calls.append(args)
            if len(calls) > n_calls:
                raise KeyboardInterrupt
            return function(*args, **options)

        return step

    for module, name in ((os, "replace"), (os, "unlink"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, die_at(getattr(module, name)))
    with contextlib.suppress(KeyboardInterrupt):
        StoreFolder(store).writer.delete()
    monkeypatch.undo()
    scatcache.extract(images, out=store, overwrite=True, **TYPED)
    assert find_differences(sound, store) == []


def test_a_foreign_folder_shows_no_split_of_ours(tmp_path):
    (tmp_path / "data/coefficients/receipts").mkdir(parents=True)
    (tmp_path / "data/coefficients/receipts/00000.json").write_text('{"manifest": "sha256:0"}')
    (tmp_path / "data/zarr.json").write_text('{"attributes": {"coordinates": "x y"}}')
    assert find_splits(LocalPlace(tmp_path)) == [] and confirms(LocalPlace(tmp_path), "sha256:0") is None
    with pytest.raises(NotAStore):
        scatcache.verify(tmp_path)


@pytest.mark.parametrize("name", ["zarr.json", "train/zarr.json"])
def test_metadata_that_vanish_during_a_run_are_no_complete_store(images, sound, tmp_path, name):
    out = tmp_path / "a.zarr"

    def remove(event):
        if isinstance(event, ShardFinished):
            (out / name).unlink(missing_ok=True)

    # A worker that is about to publish may notice before the run's own last look does.
    with pytest.raises(ScatcacheError, match=f"{name} (was removed or changed during|is missing or damaged since)"):
        scatcache.extract(images, out=out, workers=1, on_event=remove, **TYPED)
    assert scatcache.extract(images, out=out, **TYPED).state == "complete"
    assert find_differences(sound, out) == []


def test_a_store_made_before_the_lock_was_had_is_prepared_for(images, tmp_path, monkeypatch):
    """Another process made it, with other settings, after this one had looked."""
    out, prepare = tmp_path / "a.zarr", extraction._prepare

    def prepare_late(*args, **options):
        prepared = prepare(*args, **options)
        monkeypatch.setattr(extraction, "_prepare", prepare)
        scatcache.extract(images, out=out, J=1, L=3)
        return prepared

    monkeypatch.setattr(extraction, "_prepare", prepare_late)
    with pytest.raises(SettingsDiffer, match=r"spec\.L: the store has 3, you asked for 2"):
        scatcache.extract(images, out=out, **TYPED)
    assert scatcache.info(out).spec.L == 3 and scatcache.verify(out).ok


def test_a_store_that_vanished_before_the_lock_was_had_is_made_anew(images, sound, store, monkeypatch):
    prepare = extraction._prepare

    def prepare_late(*args, **options):
        prepared = prepare(*args, **options)
        monkeypatch.setattr(extraction, "_prepare", prepare)
        shutil.rmtree(store)
        return prepared

    monkeypatch.setattr(extraction, "_prepare", prepare_late)
    planned = []
    scatcache.extract(images, out=store, on_event=planned.append, **TYPED | {"seed": None})
    assert [event.plan.done for event in planned if isinstance(event, JobPlanned)] == [0]
    # What was not typed came from the store that is gone, and is the default now.
    assert scatcache.open_cache(store, "train").manifest.seed == 0


def test_the_summary_is_written_last(store, monkeypatch):
    """Cut off before it, the split must not count as finished."""
    folder = StoreFolder(store)
    layout = folder.records.read_layout(folder.records.read_manifest(), "train")
    receipts = [folder.records.read_receipt("train", shard)[0] for shard in range(layout.n_shards)]
    finished = finish_split(receipts, layout, folder.records.read_rows(layout, "train"))
    folder.writer.withdraw_summary("train")
    put, written = LocalPlace.put, []

    def note(place, name, data):
        written.append(name)
        put(place, name, data)

    monkeypatch.setattr(LocalPlace, "put", note)
    folder.writer.publish_split(finished)
    assert written == ["train/status/c.0", index_path("train"), summary_path("train")]


def test_a_run_cut_off_before_the_summary_is_finished_by_the_next(images, sound, store, monkeypatch):
    (store / summary_path("train")).unlink()
    flip(store / index_path("train"), 3)
    (store / "train/status/c.0").unlink()
    computed = scatcache.extract(images, out=store, **TYPED).splits["train"].shards_computed
    assert computed == 0
    for path in (index_path("train"), summary_path("train"), "train/status/c.0"):
        assert (store / path).read_bytes() == (sound / path).read_bytes()


def test_a_failure_that_stays_ends_the_run_with_advice(images, store, monkeypatch):
    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(store / "train/zarr.json"))

    monkeypatch.setattr(JobRun, "_make_folders", fail)
    with pytest.raises(ScatcacheError, match="Input/output error: remove the cause, then give the same command again"):
        scatcache.extract(images, out=store, **TYPED)


def test_a_folder_in_place_of_a_file_is_named_with_advice(images, store):
    (store / "train/label/c.0").unlink()
    (store / "train/label/c.0").mkdir()
    with pytest.raises(ScatcacheError, match=r"label/c\.0: a folder lies where a file of the store belongs"):
        scatcache.extract(images, out=store, **TYPED)


def test_overwriting_touches_no_folder_outside_whatever_zarr_json_says(images, store, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.tex").write_text("mine")
    document = json.loads((store / "zarr.json").read_bytes())
    members = document["consolidated_metadata"]["metadata"]
    members |= dict.fromkeys(("../victim", str(victim), "", ".."), members["train"])
    (store / "zarr.json").write_text(json.dumps(document))
    assert scatcache.extract(images, out=store, overwrite=True, **TYPED).state == "complete"
    assert (victim / "thesis.tex").read_text() == "mine" and {path.name for path in tmp_path.iterdir()} >= {"victim"}


def test_overwriting_splits_in_a_group_of_the_users_own_keeps_what_is_theirs(images, sound, tmp_path):
    mine = tmp_path / "mine.zarr"
    shutil.copytree(sound / "train", mine / "train")
    (mine / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"important": 1}}')
    (mine / ".cache.tmp").write_text("mine")
    scatcache.extract(images, out=mine, overwrite=True, **TYPED)
    attributes = json.loads((mine / "zarr.json").read_bytes())["attributes"]
    assert attributes["important"] == 1 and (mine / ".cache.tmp").read_text() == "mine"
    assert scatcache.verify(mine).ok


def test_a_refused_run_removes_nothing_that_lay_where_its_job_folder_would_be(images, tmp_path):
    job = tmp_path / "slurm.job"
    job.mkdir()
    for name in ("data.tar", "my.index.npz"):
        (job / name).write_text("mine")
    with pytest.raises(ScatcacheError):
        scatcache.extract(images, out=tmp_path / "slurm", split="no such split", **TYPED)
    assert {path.name: path.read_text() for path in job.iterdir()} == {"data.tar": "mine", "my.index.npz": "mine"}


def test_a_store_of_an_earlier_version_is_told(images, sound, store):
    state(format=1)(store / "zarr.json")
    for path in [*store.rglob("0*.json"), *store.rglob("summary.json")]:
        path.unlink()
    shutil.rmtree(f"{store}.job", ignore_errors=True)
    for read in (scatcache.open_cache, scatcache.info):
        with pytest.raises(NotAStore, match=r"format 1, of an earlier scatcache.*--overwrite"):
            read(store)
    with pytest.raises(NotAStore, match="format 1, of an earlier scatcache"):
        scatcache.extract(images, out=store, **TYPED)
    assert scatcache.extract(images, out=store, overwrite=True, **TYPED).state == "complete"
    assert find_differences(sound, store) == []


def test_a_run_whose_lock_was_deleted_publishes_nothing_over_a_newer_one(images, tmp_path):
    out = tmp_path / "a.zarr"

    finished = []

    def take_over(event):
        # At the last shard, when no worker looks any more.
        finished.extend([event] if isinstance(event, ShardFinished) else [])
        if len(finished) == 5 and not (tmp_path / "newer").exists():
            shutil.rmtree(f"{out}.job")
            (tmp_path / "newer").touch()
            scatcache.extract(images, out=out, overwrite=True, **{**TYPED, "seed": 4})

    with pytest.raises(ScatcacheError, match=r"newer run|was replaced"):
        scatcache.extract(images, out=out, workers=1, on_event=take_over, **TYPED)
    assert scatcache.verify(out).ok and scatcache.open_cache(out, split="train").manifest.seed == 4


def test_images_that_were_moved_away_are_told(images, store, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(images, moved)
    scatcache.resume(store, root=moved)
    shutil.rmtree(moved)
    with pytest.raises(ScatcacheError, match=r"the images were in .*moved.*name their folder or file with --root"):
        scatcache.resume(store)
