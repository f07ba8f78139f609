import errno
import gzip
import importlib.metadata
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import scatcache
from scatcache import commands, interruption, progress, retries
from scatcache.errors import ScatcacheError, SettingsDiffer, SourceError, StoreLocked, UsageError
from scatcache.images.kinds import folder
from scatcache.images.kinds.folder import FolderPart
from scatcache.job import extraction, planned
from scatcache.job import run as job_run
from scatcache.job.store_folder import StoreFolder
from scatcache.store.lock import WriterLock
from scatcache.store.records import shard_path
from scatcache.store.writer import StoreWriter
from tests.runs import call, command, find_differences, list_files, list_temporaries, make_images, run, start

EXTRACT_FIELDS = {"store", "state", "splits", "bytes", "elapsed_s", "images_per_s", "backend", "unreadable"}
SPLIT_FIELDS = {"rows", "ok", "unreadable", "shards", "shards_computed", "shards_kept"}


@pytest.fixture
def images(tmp_path):
    """A folder of eight images in two classes."""
    return make_images(tmp_path / "images", 8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder of the command's own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)
    return tmp_path / "here"


def extract(images, out, *more):
    return call("extract", images, "--J", 1, "--L", 4, "--shard-images", 2, "--out", out, *more)


def cut(*paths):
    """Cuts images short behind their headers."""
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])


@pytest.fixture
def tmpfs(tmp_path):
    """mount(*options): a fresh file system in memory; mounting again changes its options."""
    folder = tmp_path / "tmpfs"
    folder.mkdir()
    mounted = []

    def mount(*options):
        options = ["remount", *options] if mounted else list(options)
        line = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(folder)]
        if subprocess.run(line, capture_output=True).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# What is printed


def test_extract_prints_its_result_on_stdout_and_its_progress_on_stderr(tmp_path, images):
    done = extract(images, tmp_path / "a.zarr")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "all: 8 images, 0 unreadable, 4 shards (4 computed, 0 kept)"
    assert lines[1].startswith(f"{tmp_path}/a.zarr: complete, ") and len(lines) == 2
    assert done.err.splitlines()[0] == f"8 images -> {tmp_path}/a.zarr"


@pytest.mark.parametrize("options", [[], ["-q"]])
def test_json_of_extract_and_resume_has_the_promised_fields(tmp_path, images, options):
    for done in (
        extract(images, tmp_path / "a.zarr", "--json", *options),
        call("resume", tmp_path / "a.zarr", "--json", *options),
    ):
        assert (done.code, set(done.result)) == (0, EXTRACT_FIELDS)
        assert set(done.result["splits"]) == {"all"} and set(done.result["splits"]["all"]) == SPLIT_FIELDS
        assert (done.err == "") == bool(options)
    assert done.result["splits"]["all"] == {
        "rows": 8, "ok": 8, "unreadable": 0, "shards": 4, "shards_computed": 0, "shards_kept": 4
    }  # fmt: skip


def test_json_names_the_unreadable_images(tmp_path, images):
    cut(images / "class1" / "0001.png")
    done = extract(images, tmp_path / "a.zarr", "--json")
    assert done.code == 3
    (entry,) = done.result["unreadable"]
    assert set(entry) == {"split", "key", "reason"} and entry["key"] == "class1/0001.png"


def test_json_of_the_other_commands_has_the_promised_fields(tmp_path, images):
    out = tmp_path / "a.zarr"
    extract(images, out)
    plan = call("plan", images, "--J", 1, "--out", tmp_path / "b.zarr", "--quick", "--json")
    assert set(plan.result) == {
        "store", "settings", "state", "images", "output_shape", "bytes", "free_bytes", "shards", "done", "device",
        "backend", "backend_reason", "splits"
    }  # fmt: skip
    info = call("info", out, "--json")
    assert set(info.result) == {"store", "format", "state", "pixels", "spec", "encoding", "bytes", "splits"}
    assert set(info.result["splits"]["all"]) == {
        "rows", "ok", "unreadable", "shards", "shards_done", "image_shape", "classes", "targets"
    }  # fmt: skip
    verify = call("verify", out, "--json")
    assert set(verify.result) == {"ok", "checked", "failures"} and verify.result["ok"]
    doctor = call("doctor", "--json")
    assert set(doctor.result) == {"versions", "cpu", "backends", "cuda", "memory_bytes", "disk"}
    sources = call("sources", "--json")
    assert {"cifar10", "photos"} <= set(sources.result)
    assert [done.code for done in (plan, info, verify, doctor, sources)] == [0] * 5
    assert [done.err for done in (plan, info, verify, doctor, sources)] == [""] * 5


def test_every_command_has_a_result_for_people(tmp_path, images):
    out = tmp_path / "a.zarr"
    extract(images, out)
    planned = " ".join(call("plan", images, "--J", 1, "--quick", "--out", tmp_path / "b.zarr").out.split())
    assert "at most" in planned and " state new " in planned and " settings J=1, " in planned
    assert "state complete: 4 of 4 shards done" in " ".join(call("plan", images, "--out", out).out.split())
    assert "complete" in call("info", out).out
    assert call("verify", out).out == "4 shards checked: ok\n"
    assert "photos" in call("sources").out
    assert "cores usable" in call("doctor").out
    assert call("--version").out.startswith("scatcache, version ")
    assert not (tmp_path / "b.zarr").exists()


def test_plan_takes_whatever_extract_takes(tmp_path, images):
    options = {option for param in commands.cli.commands["extract"].params for option in param.opts}
    own = {"--images", "--image-shape", "--quick"}
    assert options | own == {option for param in commands.cli.commands["plan"].params for option in param.opts}
    more = ["--workers", 2, "--processes", "--decode-threads", 1, "--on-error", "fail", "--overwrite", "-q", "-v"]
    done = call("plan", images, "--quick", "--J", 1, "--out", tmp_path / "a.zarr", *more)
    assert done.code == 0 and "8 images" in done.out and not (tmp_path / "a.zarr").exists()


def test_files_that_are_no_images_are_counted(tmp_path, images):
    (images / "class1" / "notes.txt").write_text("none")
    done = extract(images, tmp_path / "a.zarr")
    assert "warning: split all: files left out because their extension is not that of an image: 1" in done.err


def test_show_prints_where_the_picture_is(here, images):
    extract(images, "a.zarr")
    assert (call("show", "a.zarr", 3).code, list(here.glob("*.png"))) == (0, [here / "a.zarr-all-3.png"])
    for index in (-1, -8):  # no options, though they look like it
        done = call("show", "a.zarr", index, "--out", "b.png")
        assert (done.code, done.out, done.err) == (0, "b.png\n", "")


def test_what_show_refuses_is_one_line_and_1(here, images):
    cut(images / "class0" / "0000.png")
    extract(images, "a.zarr")
    assert_refused(call("show", "a.zarr", 8), "8 rows", "-8 to -1")
    assert_refused(call("show", "a.zarr", 0), "class0/0000.png", "unreadable")
    assert_refused(call("show", "a.zarr", 1, "--out", "no/b.png"), "folder no does not exist")
    assert_refused(call("show", "a.zarr", 1, "--out", here), "is a folder")
    assert_refused(call("show", "a.zarr", 1, "--out", "b.jpg"), "does not end in .png", code=2)
    assert_refused(call("show", "b.zarr", 0), "no scatcache store")
    assert list(here.glob("*.png")) == []


def test_info_fits_a_screen(here, tmp_path):
    for split in ("train", "unlabeled", "test"):
        make_images(tmp_path / "images" / split, 6)
    call("extract", tmp_path / "images", "--J", 2, "--L", 4, "--size", 16, "--limit", 5, "--seed", 12345678,
         "--shard-images", 2, "--out", "a.zarr", *[f"--split={s}" for s in ("train", "unlabeled", "test")])  # fmt: skip
    lines = call("info", "a.zarr").out.splitlines()
    assert len(lines) <= 24 and all(len(line) <= 80 for line in lines if str(here) not in line)
    assert sum("energy  " in line and "order 0 " in line and "order 2 " in line for line in lines) == 3


def test_energies_of_info_add_up_to_the_whole(here, images):
    extract(images, "a.zarr")
    (line,) = [line for line in call("info", "a.zarr").out.splitlines() if "energy" in line]
    shares = [float(share) for share in re.findall(r"order \d ([\d.]+)%", line)]
    assert len(shares) == 3 and 99.8 < sum(shares) < 100.2


def test_doctor_fits_a_screen(here):
    lines = call("doctor").out.splitlines()
    assert len(lines) <= 24 and all(len(line) <= 80 for line in lines if str(here) not in line)
    text = " ".join(" ".join(lines).split())
    assert f"matplotlib {importlib.metadata.version('matplotlib')}" in text and " ms for 4 KiB" in text


def test_quiet_is_silent_on_stderr(tmp_path, images):
    assert extract(images, tmp_path / "a.zarr", "-q").err == ""


def test_what_is_told_of_images_stands_on_stderr_even_when_quiet(tmp_path, images):
    Image.new("RGB", (16, 16), "red").save(next(images.rglob("0003.png")))
    told = "warning: 1 image is of one single colour\n"
    for options in ([], ["-q"], ["-q", "--json"]):
        done = extract(images, tmp_path / "a.zarr", *options)
        assert done.code == 0 and done.err.count(told) == 1
    assert set(done.result) == {
        "store",
        "state",
        "splits",
        "bytes",
        "elapsed_s",
        "images_per_s",
        "backend",
        "unreadable",
    }
    assert "1 image is of one single colour" in call("info", tmp_path / "a.zarr").out


def test_recorded_unreadable_images_are_told_and_tried_again_on_demand(tmp_path, images):
    mended = next(images.rglob("0003.png"))
    whole, out = mended.read_bytes(), tmp_path / "a.zarr"
    mended.write_bytes(bytes(len(whole)))
    assert "--retry-unreadable" not in extract(images, out, "-q").err
    mended.write_bytes(whole)
    found = call("verify", out, "--recompute", 1)
    assert found.code == 4 and f"give `scatcache resume {out} --retry-unreadable`" in found.out and found.err == ""
    hint = "warning: 1 unreadable image was recorded by an earlier run: --retry-unreadable tries it again\n"
    for again in (extract(images, out, "-q"), call("resume", out, "-q")):
        assert again.code == 3 and again.err.startswith(hint)
    done = call("resume", out, "-q", "--retry-unreadable", "--json")
    assert (done.code, done.err) == (0, "") and done.result["splits"]["all"]["shards_computed"] == 1
    assert call("verify", out, "--recompute", 1).code == 0


def test_verbose_logs_the_job_and_its_shards(tmp_path, images):
    done = run("extract", images, "--J", "1", "--shard-images", "2", "--out", tmp_path / "a.zarr", "-v")
    logged = [line for line in done.stderr.splitlines() if " scatcache.job.run: " in line]
    assert done.returncode == 0 and len(logged) == 1 + 4 + 1


def test_unreadable_images_are_listed_up_to_ten(tmp_path):
    images = make_images(tmp_path / "images", 30)
    cut(*sorted(images.rglob("*.png"))[:12])
    done = extract(images, tmp_path / "a.zarr")
    assert done.code == 3
    assert len([line for line in done.err.splitlines() if line.startswith("unreadable: all: class")]) == 10
    assert "... and 2 more: --json lists all" in done.err
    assert done.out.splitlines()[-1].endswith("12 unreadable images recorded")


@pytest.mark.parametrize("name", ["", "extract", "plan", "resume", "info", "verify", "show", "sources", "doctor"])
def test_help_ends_with_zero(name):
    done = call(*filter(None, [name]), "--help")
    assert done.code == 0 and done.out.startswith("Usage: ") and done.err == ""


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (31104000, "31.10 MB"), (2.5e15, "2500.00 TB")]
)
def test_bytes_are_shown_in_decimal_units(n_bytes, text):
    assert progress.show_bytes(n_bytes) == text


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "cifar11", "--J", "2"], "unknown source 'cifar11': expected one of cifar10, .*or a folder"),
        (["extract", "", "--J", "2"], "unknown source"),
        (["plan", "no/such/folder", "--J", "2"], "unknown source 'no/such/folder'"),
        (["extract", "photos", "--J", "2", "--split", "train"], "photos has no split 'train': expected one of all"),
        (["extract", "cifar10", "--J", "2", "--split", "val"], "expected one of train, test"),
        (["extract", "photos", "--J", "2", "--out", "s3://bucket/a.zarr"], "local folder"),
        (["resume", "s3://bucket/a.zarr"], "local folder"),
        (
            ["extract", "imagenet", "--J", "2", "--split", "test"],
            "expected one of train, val",
        ),
        (["extract", "imagenet", "--J", "2", "--download"], "imagenet cannot be downloaded"),
        (["extract", "photos", "--J", "2", "--download"], "photos cannot be downloaded"),
        (["extract", "photos", "--J", "2", "--root", "a", "--views", "500", "--view-padding", "2"], "expected 1 to 50"),
        (["plan", "photos", "--J", "2", "--view-padding", "2"], "give views too"),
        (["extract", "photos", "--J", "8"], "128x128 are too small for J=8"),
        (["extract", "photos", "--J", "2", "--views", "some"], "--views.*an integer from 1 or 'all'"),
        (["plan", ".", "--J", "2", "--download"], "cannot be downloaded"),
        (["extract", "photos"], "--J"),
        (["extract", "photos", "--out", "new.zarr"], "--J"),
        (["plan", "photos", "--out", "new.zarr"], "--J"),
        (["extract", "photos", "--J", "0"], "--J"),
        (["extract", "photos", "--J", "9"], "--J"),
        (["extract", "photos", "--J", "two"], "--J"),
        (["extract", "photos", "--J", "2", "--L", "128"], "--L"),
        (["extract", "photos", "--J", "2", "--max-order", "3"], "--max-order"),
        (["extract", "photos", "--J", "2", "--grid", "corner"], "--grid"),
        (["extract", "photos", "--J", "2", "--size", "0"], "--size"),
        (["extract", "photos", "--J", "2", "--limit", "0"], "--limit"),
        (["extract", "photos", "--J", "2", "--limit", "-1"], "--limit"),
        (["extract", "photos", "--J", "2", "--shard-images", "0"], "--shard-images"),
        (["extract", "photos", "--J", "2", "--seed", "-1"], "--seed"),
        (["extract", "photos", "--J", "2", "--seed", str(2**63)], "--seed"),
        (["extract", "photos", "--J", "2", "--encoding", "jpeg"], "'jpeg'.*float16, float16raw, float32"),
        (["plan", "photos", "--J", "2", "--encoding", "jpeg"], "'jpeg'.*float16, float16raw, float32"),
        (["extract", "photos", "--J", "2", "--device", "tpu"], "--device"),
        (["extract", "photos", "--J", "2", "--backend", "numpy"], "--backend"),
        (["extract", "photos", "--J", "2", "--workers", "0"], "--workers"),
        (["extract", "photos", "--J", "2", "--decode-threads", "0"], "--decode-threads"),
        (["extract", "photos", "--J", "2", "--on-error", "ignore"], "--on-error"),
        (["extract", "photos", "--J", "2", "--no-such-option"], "--no-such-option"),
        (["extract"], "SOURCE"),
        (["verify", "a.zarr", "--recompute", "2"], "recompute is 2.0: expected a fraction"),
        (["extrakt", "photos"], "extrakt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_2_and_writes_nothing(here, arguments, message):
    done = call(*arguments)
    assert (done.code, done.out) == (2, "")
    assert re.search(message, done.err), done.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["extract", "plan"])
@pytest.mark.parametrize(
    ("name", "options", "advice"),
    [
        ("photos", [], "write photos/ for the images in the folder, or give --root . for the dataset"),
        ("photos", ["--root", "photos/"], "write photos/ for the images in the folder, or give --root . for"),
        ("cifar10", [], r"write cifar10/ for .*, or give --root DIR for the dataset .* \(perhaps cifar10\)"),
    ],
)
def test_a_name_that_is_also_a_folder_here_is_2_with_both_spellings(here, command, name, options, advice):
    make_images(here / name, 2)
    done = call(command, name, "--J", 1, *options)
    assert (done.code, done.out) == (2, "") and re.search(f"'{name}' is a dataset's name, and .*{advice}", done.err)
    with pytest.raises(UsageError, match=advice):
        getattr(scatcache, command)(name, J=1, **({"root": options[1]} if options else {}))
    assert os.listdir(here) == [name]


def test_a_name_is_meant_with_a_root_and_a_folder_with_a_slash(here):
    make_images(here / "photos", 2)
    make_images(here / "data" / "cifar10", 2)
    plan = ("--J", 1, "--limit", 2, "--quick", "--json")
    assert call("plan", "photos", "--root", ".", *plan).result["splits"]["all"]["image_shape"] == [128, 128]
    assert call("plan", "photos/", *plan).result["splits"]["all"]["image_shape"] == [16, 16]
    assert call("plan", "cifar10", *plan).code == 1


def test_a_store_of_a_sample_is_never_called_complete_alone(tmp_path, images):
    done = extract(images, tmp_path / "a.zarr", "--limit", 3)
    assert f"{tmp_path}/a.zarr: complete, limited to 3, " in done.out
    assert "a.zarr: complete, limited to 3, " in call("resume", tmp_path / "a.zarr").out
    assert re.search("state +complete, limited to 3\n", call("info", tmp_path / "a.zarr").out)
    for result in (call("info", tmp_path / "a.zarr", "--json"), call("resume", tmp_path / "a.zarr", "--json")):
        assert result.result["state"] == "complete" and "limit" not in result.result


def test_overwriting_without_J_is_2_and_keeps_the_store(tmp_path, images):
    extract(images, tmp_path / "a.zarr")
    before = list_files(tmp_path / "a.zarr")
    assert call("extract", images, "--out", tmp_path / "a.zarr", "--overwrite").code == 2
    assert list_files(tmp_path / "a.zarr") == before


def test_verify_of_a_damaged_store_is_4(tmp_path, images):
    out = tmp_path / "a.zarr"
    extract(images, out)
    shard = StoreFolder(out).path / shard_path("all", 1)
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    done = call("verify", out, "--json")
    assert done.code == 4
    assert done.result["failures"][0]["path"] == "all/coefficients/c.1.0.0.0"


def test_changed_settings_are_5_with_every_field(tmp_path, images):
    extract(images, tmp_path / "a.zarr")
    done = call("extract", images, "--J", 2, "--seed", 7, "--out", tmp_path / "a.zarr")
    assert (done.code, done.out) == (5, "")
    assert "spec.J: the store has 1, you asked for 2" in done.err
    assert "seed: the store has 0, you asked for 7" in done.err
    assert "choose another --out, or --overwrite" in done.err


def test_the_grid_is_kept_shown_and_compared(tmp_path, images):
    out = tmp_path / "a.zarr"
    assert call("plan", images, "--J", 1, "--L", 4, "--grid", "centered", "--quick", "--out", out).code == 0
    assert extract(images, out, "--grid", "centered").code == 0
    assert "grid=centered" in " ".join(call("info", out).out.split())
    assert call("info", out, "--json").result["spec"]["grid"] == "centered"
    assert call("verify", out, "--recompute", 1).code == call("resume", out).code == extract(images, out).code == 0
    done = extract(images, out, "--grid", "kymatio")
    assert done.code == 5 and 'spec.grid: the store has "centered", you asked for "kymatio"' in done.err


def test_odd_images_on_the_centered_grid_are_refused_before_any_work(tmp_path, here):
    images = make_images(tmp_path / "odd", 2, side=15)
    for name in ("extract", "plan"):
        assert_refused(call(name, images, "--J", 1, "--grid", "centered"), "15x15 have an odd side", code=2)
    assert list(here.iterdir()) == []


def test_a_changed_listing_is_5(tmp_path, images):
    extract(images, tmp_path / "a.zarr")
    (images / "class0" / "0000.png").unlink()
    done = extract(images, tmp_path / "a.zarr")
    assert done.code == 5 and "splits.all.listing" in done.err
    assert call("resume", tmp_path / "a.zarr").code == 5


def test_another_writer_is_6(tmp_path, images):
    extract(images, tmp_path / "a.zarr")
    with WriterLock(tmp_path / "a.zarr.job" / "lock"):
        for done in (extract(images, tmp_path / "a.zarr"), call("resume", tmp_path / "a.zarr")):
            assert (done.code, done.out) == (6, "") and "another process" in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (SettingsDiffer("x"), 5),
        (StoreLocked("x"), 6),
        (SourceError("x"), 1),
        (ScatcacheError("x"), 1),
    ],
)
def test_an_error_has_its_exit_code(error, code):
    assert commands.find_exit_code(error) == code


# What fails, and is said in one line


def assert_refused(done, *parts, code=1):
    """An exit code, nothing on stdout, one error of ours that holds these parts."""
    assert (done.code, done.out) == (code, ""), done
    assert done.err.count("scatcache: error: ") == 1 and "Traceback" not in done.err
    for part in parts:
        assert part in done.err


def test_a_missing_root_names_the_places_and_the_files(here):
    assert_refused(call("extract", "cifar10", "--J", 2), "data/cifar10", "cifar-10-batches-bin", "--root DIR")
    assert_refused(call("extract", "cifar10", "--J", 2, "--root", here / "none"), "none (no such folder)")
    assert list(here.iterdir()) == []


def test_a_truncated_archive_is_told(here):
    with gzip.open(here / "cifar-10-binary.tar.gz", "wb") as file:
        file.write(os.urandom(100_000))
    archive = here / "cifar-10-binary.tar.gz"
    archive.write_bytes(archive.read_bytes()[:50_000])
    assert_refused(call("extract", "cifar10", "--J", 2, "--root", here), "cifar-10-binary.tar.gz")


def test_folders_without_images_are_told(here, images):
    (here / "empty").mkdir()
    assert_refused(call("extract", here / "empty", "--J", 2), "holds no image")
    (images / "class9").mkdir()
    assert_refused(call("extract", images, "--J", 2), "no image in class folder class9")


def test_mixed_sizes_are_told(here, images):
    make_images(images / "more", 2, side=24)
    assert_refused(call("extract", images, "--J", 2), "--size N")
    assert call("extract", images, "--J", 2, "--size", 16, "-q").code == 0


def test_images_too_small_for_J_are_told(here, images):
    assert_refused(call("extract", images, "--J", 5), "16x16 are too small for J=5", code=2)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_foreign_out_is_never_touched(tmp_path, images, overwrite):
    folder, file = tmp_path / "folder", tmp_path / "file.zarr"
    folder.mkdir()
    (folder / "thesis.tex").write_text("all of it")
    file.write_text("mine")
    before = list_files(tmp_path)
    assert_refused(extract(images, folder, *overwrite), "not empty", "choose another --out")
    assert_refused(extract(images, file, *overwrite), "is a file", "choose another --out")
    assert list_files(tmp_path) == before
    assert (file.read_text(), (folder / "thesis.tex").read_text()) == ("mine", "all of it")


def test_a_newer_format_is_told(tmp_path, images):
    out = tmp_path / "a.zarr"
    extract(images, out)
    document = json.loads((out / "zarr.json").read_text())
    document["attributes"]["scatcache"]["format"] = 3
    (out / "zarr.json").write_text(json.dumps(document))
    # Of another manifest's digest, as a newer version's are: ours would show that the number is damage.
    for path in (*out.rglob("0*.json"), *out.rglob("summary.json")):
        path.unlink()
    (tmp_path / "a.zarr.job/manifest.json").unlink()
    for done in (extract(images, out), call("resume", out), call("info", out)):
        assert_refused(done, "format 3", "newer scatcache")


def test_resume_and_info_of_no_store_are_told(tmp_path):
    for name in ("resume", "info", "verify"):
        assert_refused(call(name, tmp_path), "is no scatcache store")


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path, tmpfs, images):
    folder = tmpfs("size=64k")
    assert_refused(extract(images, folder / "a.zarr"), "free there: free some, choose another --out, or give --limit")
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_up_is_told_and_the_same_command_goes_on(tmp_path, tmpfs, monkeypatch):
    images = make_images(tmp_path / "images", 40, side=32)
    extract(images, tmp_path / "straight.zarr")
    folder = tmpfs("size=400k")
    monkeypatch.setattr(planned, "free_disk_bytes", lambda path: 10**12)
    assert_refused(extract(images, folder / "a.zarr"), "No space left on device", "give the same command again")
    assert [path for path in list_temporaries(folder) if path.is_file()] == []
    tmpfs("size=20m")
    assert extract(images, folder / "a.zarr").code == 0
    assert find_differences(tmp_path / "straight.zarr", folder / "a.zarr") == []


def test_a_read_only_file_system_is_told(tmp_path, tmpfs, images):
    folder = tmpfs("ro")
    assert_refused(extract(images, folder / "a.zarr"), "Read-only file system", str(folder))


def test_a_read_only_folder_is_told(tmp_path, images):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("needs a user whom file modes bind")
    assert_refused(extract(images, folder / "a.zarr"), "Permission denied", str(folder))


def test_cuda_that_is_absent_is_told(tmp_path, images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(extract(images, tmp_path / "a.zarr", "--device", "cuda"), "CUDA")
    assert not (tmp_path / "a.zarr").exists()


def test_a_failing_disk_is_told_and_the_same_command_goes_on(tmp_path, images, monkeypatch):
    read, waited = FolderPart.read, []

    def fail(part, i):
        if (key := part.listing.rows[i].key) == "class1/0005.png":
            raise OSError(5, "Input/output error", key)
        return read(part, i)

    monkeypatch.setattr(FolderPart, "read", fail)
    monkeypatch.setattr(retries.time, "sleep", waited.append)
    assert_refused(extract(images, tmp_path / "a.zarr"), "class1/0005.png: Input/output error (4 tries)")
    assert waited[:3] == [0.2, 1.0, 3.0]
    monkeypatch.undo()
    done = extract(images, tmp_path / "a.zarr", "--json")
    assert (done.code, done.result["unreadable"]) == (0, [])


def test_a_folder_of_mostly_unreadable_images_is_told_with_three_reasons(tmp_path, images):
    cut(*sorted(images.rglob("*.png"))[:6])
    for _ in range(2):
        done = extract(images, tmp_path / "a.zarr")
        assert_refused(done, "6 of the first 8 images are unreadable", "is this the right folder?")
        assert len([line for line in done.err.splitlines() if line.startswith("  class")]) == 3
    assert list_temporaries(tmp_path / "a.zarr") == []


def test_on_error_fail_is_1(tmp_path, images):
    cut(images / "class1" / "0001.png")
    assert_refused(extract(images, tmp_path / "a.zarr", "--on-error", "fail"), "class1/0001.png", "--on-error fail")


def test_a_failed_allocation_is_told(tmp_path, images, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(scatcache, "extract", fail)
    assert_refused(extract(images, tmp_path / "a.zarr"), "MemoryError")


# Going on


def test_resume_works_without_root_and_says_what_to_do_without_its_memory(tmp_path, images):
    out = tmp_path / "a.zarr"
    extract(images, out)
    assert call("resume", out, "--json").result["splits"]["all"]["shards_kept"] == 4
    shutil.rmtree(tmp_path / "a.zarr.job")
    assert_refused(call("resume", out), "name their folder or file with --root")
    assert call("resume", out, "--root", images).code == 0
    images.rename(tmp_path / "moved")
    assert call("resume", out).code == 1
    assert call("resume", out, "--root", tmp_path / "moved").code == 0


def test_split_adds_and_overwrite_starts_anew(tmp_path):
    for split in ("train", "test"):
        make_images(tmp_path / "images" / split, 4)
    images, out = tmp_path / "images", tmp_path / "a.zarr"
    assert list(extract(images, out, "--split", "test", "--json").result["splits"]) == ["test"]
    assert list(call("resume", out, "--split", "train", "--json").result["splits"]) == ["train"]
    done = call("extract", images, "--J", 2, "--out", out, "--overwrite", "--json")
    assert done.code == 0 and done.result["splits"]["test"]["shards_kept"] == 0


@pytest.fixture
def interrupted_at(monkeypatch):
    """interrupted_at(kind, name): a Ctrl-C comes while this is called, once; leaving is an ordinary exit."""

    def arm(kind, name, *, late=False):
        original = getattr(kind, name)

        def interrupt(*arguments, **options):
            monkeypatch.setattr(kind, name, original)
            if late:
                original(*arguments, **options)
            interruption._received.append(signal.SIGINT)
            raise interruption.Interrupted

        monkeypatch.setattr(kind, name, interrupt)

    def leave(code):
        interruption.say(f"interrupted: {interruption._advice[-1]}")
        sys.exit(code)

    monkeypatch.setattr(interruption, "leave", leave)
    yield arm
    interruption._received.clear()


@pytest.mark.parametrize(
    ("kind", "name", "late", "advice", "again"),
    [
        (folder, "walk", False, "nothing was deleted, the same command again", ["--overwrite"]),
        (extraction, "take_over", True, "nothing was deleted, the same command again", ["--overwrite"]),
        (shutil, "rmtree", True, "part of the old store is deleted, give the same command again", ["--overwrite"]),
        (StoreWriter, "create", False, "give the same command without --overwrite, it goes on", []),
        (StoreWriter, "add_split", True, "give the same command without --overwrite, it goes on", []),
        (job_run.JobRun, "_take", True, "give the same command without --overwrite, it goes on", []),
    ],
)
def test_advice_after_an_interrupted_overwrite_heals(tmp_path, images, interrupted_at, kind, name, late, advice, again):
    out, straight = tmp_path / "a.zarr", tmp_path / "straight.zarr"
    for path, J in ((out, 2), (straight, 1)):
        assert call("extract", images, "--J", J, "--L", 4, "--shard-images", 2, "--out", path).code == 0
    before = list_files(out)
    interrupted_at(kind, name, late=late)
    done = extract(images, out, "--overwrite")
    assert done.code == 130 and f"scatcache: interrupted: {advice}" in done.err
    assert (list_files(out) == before) == ("nothing was deleted" in advice)
    interruption._received.clear()
    assert extract(images, out, *again).code == 0
    assert find_differences(straight, out) == []


def test_an_error_after_an_overwrite_says_which_command_goes_on(tmp_path, images, monkeypatch):
    def fill_up(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "a.zarr"
    assert extract(images, out).code == 0
    monkeypatch.setattr(StoreWriter, "publish_receipt", fill_up)
    assert_refused(extract(images, out, "--overwrite"), "then give the same command without --overwrite: it goes on")
    assert_refused(extract(images, out), "then give the same command again: it goes on")


def test_an_unknown_split_of_a_folder_is_1(tmp_path, images):
    assert_refused(extract(images, tmp_path / "a.zarr", "--split", "val"), "no split 'val': expected one of all")


# Pipes and terminals


def test_a_reader_that_leaves_is_no_traceback():
    process = start("sources", stdout=subprocess.PIPE)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    assert process.wait() in (0, 1)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&-"])
def test_closed_streams_stop_nothing(tmp_path, images, closed):
    line = " ".join([*command("extract", images, "--J", "1", "--out", tmp_path / "a.zarr"), closed])
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert scatcache.info(tmp_path / "a.zarr").state == "complete"


def read_terminal(arguments, *, until=None, then=None):
    """(exit code, all that a command wrote to a terminal); calls then(process) once it wrote `until`."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    process = start(*arguments, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not part:
            break
        written += part
        if then and until in written:
            then, action = None, then
            action(process)
    os.close(ours)
    process.communicate()
    return process.returncode, written.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_bar_that_is_cleared_at_the_end(tmp_path):
    images = make_images(tmp_path / "images", 60, side=32)
    arguments = ["extract", images, "--J", "2", "--shard-images", "1", "--out", tmp_path / "a.zarr"]
    code, written = read_terminal(arguments)
    assert code == 0
    assert "images/s" in written and "%" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert written.endswith("\x1b[2K")
    code, quiet = read_terminal([*arguments, "-q"])
    assert (code, quiet) == (0, "")


@pytest.mark.slow
def test_an_interrupted_bar_is_cleared_and_the_cursor_back(tmp_path):
    images = make_images(tmp_path / "images", 400, side=32)
    arguments = ["extract", images, "--J", "2", "--shard-images", "1", "--out", tmp_path / "a.zarr"]
    code, written = read_terminal(arguments, until=b"images/s", then=lambda process: process.send_signal(signal.SIGINT))
    assert code == 130
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert written.splitlines()[-1].endswith(
        "scatcache: interrupted: give the same command again, it goes on from here"
    )


def test_the_installed_command_is_this_one():
    script = Path(sys.executable).with_name("scatcache")
    if not script.exists():
        pytest.skip("needs scatcache installed beside the interpreter")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == call("--version").out
