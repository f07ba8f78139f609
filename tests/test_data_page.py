"""docs/data.md: its tables are what the code does, its program runs as it stands."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scatcache
from scatcache.commands import cli
from scatcache.errors import SourceError
from scatcache.images.catalogue import KINDS
from scatcache.images.keys import IMAGE_EXTENSIONS
from scatcache.scattering.paths import channel_table

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "data.md").read_text()
REFUSED = "refused"


def read_table(title: str) -> list[list[str]]:
    """The cells of the rows of a section's table, code marks taken off."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    ("kind", "samples", "channels"), [row[:1] + row[2:4] for row in read_table("Three kinds of pixels")]
)
def test_each_kind_of_pixels_gives_the_channels_it_says(tmp_path, kind, samples, channels):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
        tmp_path / "images/a.png"
    )
    report = scatcache.extract(tmp_path / "images", out=tmp_path / "out", J=2, pixels=kind)
    cache = scatcache.open_cache(report.store)
    bands, dtype = samples.split(" x ")
    assert cache.manifest.pixels.dtype in dtype and bands in (str(cache.spec.colours), "bands")
    each = 1 if "each band" in channels else cache.spec.colours
    assert len(channel_table(cache.spec)["order"]) * each // cache.spec.colours == int(channels.split()[0])


@pytest.mark.parametrize(("found", "enters", "scale", "remarks"), read_table("Types of samples"))
def test_each_type_of_samples_enters_as_it_says(tmp_path, found, enters, scale, remarks):
    values = np.random.default_rng(0).uniform(0, 100, (2, 8, 8))
    if np.dtype(found).kind in "iu" and np.dtype(found).itemsize > 3:
        values *= 2**20
    values = values.astype(found)
    options = {"name": "mine", "out": tmp_path / "out", "J": 1}
    if enters == REFUSED:
        with pytest.raises(SourceError, match="expected integers or floats"):
            scatcache.extract(values, **options)
        return
    report = scatcache.extract(values, **options)
    pixels = scatcache.open_cache(report.store).manifest.pixels
    assert (pixels.dtype, f"{pixels.scale:g}") == (enters, scale)
    assert any("rounded to float32" in warning for warning in report.warnings) == ("rounded" in remarks)
    assert ("exact" in remarks) == (enters != found and "rounded" not in remarks)


def test_every_extension_is_in_the_table_once():
    listed = [extension for row in read_table("Image files") for extension in row[0].split(", ")]
    assert sorted(listed) == sorted(IMAGE_EXTENSIONS)


def test_every_extra_exists_and_every_kind_is_named():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = [row for title in ("Image files", "Arrays", "Tables") for row in read_table(title)]
    named = {row[-1].split(",")[0] for row in rows} - {""}
    assert named <= extras.keys() and {"tiff", "fits", "hdf5", "parquet"} <= named
    assert all(kind.name in PAGE.lower() for kind in KINDS)


def test_the_program_runs_and_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(program, {})
    said = re.findall(r"^print\(.*?\)\s+# (.*)$", program, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said and len(said) == 3


def test_every_command_parses():
    others = re.sub(r"```python\n.*?```\n", "", PAGE, flags=re.DOTALL)
    blocks = "".join(re.findall(r"```\n(.*?)```", others, re.DOTALL))
    lines = re.findall(r"^scatcache (\w+) (.*)$", blocks, re.MULTILINE)
    assert len(lines) > 3
    for name, arguments in lines:
        cli.commands[name].make_context(name, shlex.split(arguments), resilient_parsing=False)
