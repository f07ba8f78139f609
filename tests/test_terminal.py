import io
import json
import logging
import os
import re
import sys
import unicodedata
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from scatcache import commands, interruption, progress, results, terminal
from scatcache.job.events import ArchiveProgress
from scatcache.terminal import echo, escape
from tests.runs import call
from tests.test_progress import Terminal, plan

MODULES = sorted(Path(terminal.__file__).parent.rglob("*.py"))
# What terminals obey: colours and titles, a return to the line's start, a bell, C1's own escape, marks that reorder.
EVIL = "\x1b[31m\x1b]0;title\x07\r\x9b2J\x7f\b\u202eab\u2066c\u200f"
BYTES = os.fsdecode(b"\xff\x1b[2J")


def is_harmless(text):
    """Whether text is lines of characters that a terminal shows."""
    return text.isascii() or not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


def assert_harmless(outcome):
    for text in (outcome.out, outcome.err):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) and is_harmless(text), text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b/ö.zarr é 猫 [red]x[/red] \\n", "a b/ö.zarr é 猫 [red]x[/red] \\n"),
        ("a\x1b[0m\r\n\x07\x9b\x7f", r"a\u001b[0m\u000d\u000a\u0007\u009b\u007f"),
        ("\u202egpj.exe\u2069\u200f\u2028\ufeff", r"\u202egpj.exe\u2069\u200f\u2028\ufeff"),
        (os.fsdecode(b"caf\xe9\x80"), r"caf\xe9\x80"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
        (Path("a\tb"), r"a\u0009b"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text, shown):
    assert escape(text) == shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("err", [False, True])
def test_lines_are_written_whatever_the_encoding(monkeypatch, encoding, err):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr" if err else "stdout", io.TextIOWrapper(raw, encoding, errors="strict"))
    echo(f"猫 é {BYTES}", "two\nlines", err=err)
    shown = {"ascii": r"\u732b \xe9", "latin-1": r"\u732b é", "utf-8": "猫 é"}[encoding]
    assert raw.getvalue().decode(encoding) == f"{shown} \\xff\\u001b[2J\ntwo\\u000alines\n"


def test_nothing_else_of_the_command_writes():
    """But for the codes that clear a bar away, and the line above a bar."""
    writing = re.compile(r"\bclick\.(s?echo|style)\(|\bprint\(|std(out|err)\.write\(|StreamHandler\(")
    lines = {path.name: writing.findall(path.read_text()) for path in MODULES if path.name != "terminal.py"}
    assert {name: len(found) for name, found in lines.items() if found} == {"interruption.py": 1, "progress.py": 1}


@pytest.fixture(scope="module")
def evil_store(tmp_path_factory):
    """A store whose path, splits, classes and keys terminals would obey, with an unreadable image."""
    folder = tmp_path_factory.mktemp("evil") / f"in{EVIL}\n{BYTES}"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", f"b{EVIL}"):
            place = folder / split / name
            place.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / "image.png")
    (folder / "train" / f"b{EVIL}" / f"no{EVIL}.png").write_bytes(b"no image")
    out = folder.with_name(f"out{EVIL}\n{BYTES}.zarr")
    outcome = call("extract", f"{folder}/", "--J", 1, "--out", out, "--workers", 1, "-v")
    return folder, out, outcome


def test_extract_shows_names_as_escapes(evil_store):
    _, _, outcome = evil_store
    assert outcome.code == 3
    assert_harmless(outcome)
    shown = r"\u001b[31m\u001b]0;title\u0007\u000d\u009b2J\u007f\u0008\u202eab\u2066c\u200f\u000a\xff\u001b[2J.zarr: "
    assert f"out{shown}complete" in outcome.out and "no\\u001b[31m" in outcome.err


def test_every_command_shows_names_as_escapes(evil_store, tmp_path):
    folder, out, _ = evil_store
    for arguments, code in [
        (("info", out), 0),
        (("verify", out), 0),
        (("resume", out, "--split", f"none{EVIL}"), None),
        (("extract", f"{folder}/", "--J", 2, "--out", out), 5),
        (("extract", f"{folder}/", "--J", 2, "--out", folder, "--overwrite"), 1),
        (("plan", f"{folder}/", "--J", 2, "--quick"), 0),
        (("show", out, 0, "--split", "train", "--out", tmp_path / f"{EVIL}.png"), 0),
        (("info", f"{out}{EVIL}"), 1),
        (("info", f"https://host:port/{EVIL}"), 1),
        (("info", f"ftp://{EVIL}/"), 1),
        (("extract", f"photos{EVIL}", "--J", 2), 2),
        (("extract", "photos", "--J", 2, "--split", f"a\n{EVIL}"), 2),
        (("extract", "photos", "--J", 2, "--out", f"s3://b/{EVIL}\n{BYTES}"), 2),
        (("extract", "photos", "--J", 2, "--encoding", f"float16{EVIL}"), 2),
        (("extract", "photos", "--J", EVIL), 2),
        (("info", "a", f"surplus\n{EVIL}{BYTES}"), 2),
        ((f"comm{EVIL}",), 2),
        (("info", f"--opt{EVIL}"), 2),
    ]:
        outcome = call(*arguments)
        assert_harmless(outcome)
        assert (outcome.out or outcome.err) and (code is None or outcome.code == code), (arguments, outcome)
    damaged = next((out / "train/coefficients").glob("c.*"))
    data = damaged.read_bytes()
    damaged.unlink()
    try:
        outcome = call("verify", out)
        assert outcome.code == 4 and "to mend a shard" in outcome.err
        assert_harmless(outcome)
    finally:
        damaged.write_bytes(data)


def test_json_is_ascii_and_holds_the_names_themselves(evil_store):
    _, out, _ = evil_store
    outcome = call("info", out, "--json")
    assert re.fullmatch(r"[ -~]+\n", outcome.out) and json.loads(outcome.out)["store"] == str(out)


def test_a_name_has_its_line_to_itself(capsys):
    results.show_lines([(f"split\n{EVIL}", "a\tb"), ("x", results.bind(" y\nz "))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{escape(f'split{chr(10)}{EVIL}')}  a\\u0009b"
    assert len(lines) == 2 and lines[1].endswith(r"   y\u000az ")


def test_bar_shows_names_as_they_are_and_takes_none_for_markup(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    with progress.watch_job(quiet=False) as on_event:
        on_event(ArchiveProgress("unpacking", f"[red]a{EVIL}[/nothing].tar", 10**6, None))
        on_event(plan(store=f"a\n{EVIL}", warnings=(f"w{EVIL}",)))
    text = screen.getvalue()
    assert f"unpacking [red]a{escape(EVIL)}[/nothing].tar" in text
    assert f"-> {escape(f'a{chr(10)}{EVIL}')}\n" in text and f"warning: w{escape(EVIL)}" in text
    assert not any(evil in text for evil in ("\x1b[31m", "\x1b]0", "\x07", "\x9b", "\u202e"))


def test_log_and_last_words_are_escaped_too(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger("scatcache"), "handlers", [])
    commands.log_to_stderr()
    commands.log_to_stderr()
    logging.getLogger("scatcache.store.places.remote").warning("%s: the server ignores ranges", f"http://h/{EVIL}\n")
    interruption.say(f"error: {BYTES}:\n  {EVIL}")
    assert capsys.readouterr().err.splitlines() == [
        rf"http://h/{escape(EVIL)}\u000a: the server ignores ranges",
        r"scatcache: error: \xff\u001b[2J:",
        f"  {escape(EVIL)}",
    ]


def test_clicks_own_errors_keep_their_lines(capsys):
    terminal.show_click_error(click.NoSuchOption(f"--lim{EVIL}", possibilities=["--limit"]))
    terminal.show_click_error(click.UsageError(f"one\n{EVIL}"))
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Error: No such option") and len(lines) < 4
    assert last == f"Error: {escape(f'one{chr(10)}{EVIL}')}"
