import logging
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import scatcache
from scatcache.images.decode import decode
from scatcache.inspect import show as show_module
from scatcache.inspect.page import make_drawable
from scatcache.inspect.picture import render
from tests.store.stores import UNREADABLE, copy_store, make_partial


@pytest.fixture
def drawn(monkeypatch):
    """The portraits that were rendered."""
    portraits = []

    def keep(portrait):
        portraits.append(portrait)
        return b"png"

    monkeypatch.setattr(show_module, "render", keep)
    return portraits


def draw_one(folder, shape=(24, 40), name="a.png"):
    """A folder of one image, noise of this shape."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return pixels


def test_the_picture_is_a_png_named_for_what_it_shows(sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = scatcache.show(sound, 7)
    assert str(path) == "float16-0.zarr-all-7.png"
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1600, 1000))
        assert picture.info == {}
    assert str(scatcache.show(f"{sound}/", -1)) == "float16-0.zarr-all-49.png"


def test_the_same_row_gives_the_same_bytes(sound, tmp_path):
    pictures = [scatcache.show(sound, row, out=tmp_path / f"{i}.png") for i, row in enumerate([7, 7, -43, 8])]
    first, *others = (picture.read_bytes() for picture in pictures)
    assert [other == first for other in others] == [True, True, False]


def test_the_portrait_is_of_the_row(sound, images, tmp_path, drawn):
    cache = scatcache.open_cache(sound)
    scatcache.show(sound, 7, out=tmp_path / "a.png")
    (portrait,) = drawn
    np.testing.assert_array_equal(portrait.coefficients, cache.coefficients([7])[0])
    np.testing.assert_array_equal(portrait.image, np.array(Image.open(images / cache.keys[7])))
    assert (portrait.key, portrait.spec) == (cache.keys[7], cache.spec)
    assert portrait.label == f"class {cache.labels[7]}: {cache.classes[cache.labels[7]]}"
    assert portrait.title == "float16-0.zarr, split all, row 7 of 50"
    assert "J=2, L=4" in portrait.settings and "images of 24 x 24" in portrait.settings


def test_the_image_is_cropped_as_the_transform_saw_it(tmp_path, drawn):
    pixels = draw_one(tmp_path / "images", (30, 60))
    scatcache.extract(tmp_path / "images", out=tmp_path / "s.zarr", J=2, L=2, size=16)
    scatcache.show(tmp_path / "s.zarr", 0, out=tmp_path / "a.png")
    np.testing.assert_array_equal(drawn[0].image, decode(pixels, size=16))
    assert drawn[0].label == "no class"


@pytest.mark.parametrize("damage", ["gone", "moved", "text", "resized"])
def test_without_its_image_the_row_is_drawn_all_the_same(tmp_path, drawn, damage):
    draw_one(tmp_path / "images")
    scatcache.extract(tmp_path / "images", out=tmp_path / "s.zarr", J=2, L=2)
    if damage == "gone":
        (tmp_path / "images/a.png").rename(tmp_path / "images/b.png")
    elif damage == "moved":
        (tmp_path / "images").rename(tmp_path / "elsewhere")
    elif damage == "text":
        (tmp_path / "images/a.png").write_text("no image")
    else:
        Image.new("RGB", (9, 9)).save(tmp_path / "images/a.png")
    scatcache.show(tmp_path / "s.zarr", 0, out=tmp_path / "a.png")
    assert drawn[0].image is None and drawn[0].image_note.startswith("image not at hand:")
    if damage in ("gone", "moved"):
        assert drawn[0].image_note == "image not at hand:\ngive --root"
    assert render(drawn[0]).startswith(b"\x89PNG")


def test_root_says_where_the_images_are(tmp_path, drawn):
    pixels = draw_one(tmp_path / "images")
    scatcache.extract(tmp_path / "images", out=tmp_path / "s.zarr", J=2, L=2)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "s.zarr.job")
    scatcache.show(tmp_path / "s.zarr", 0, root=tmp_path / "elsewhere", out=tmp_path / "a.png")
    np.testing.assert_array_equal(drawn[0].image, pixels)


@pytest.mark.parametrize(
    "settings",
    [
        {"J": 2, "max_order": 0},
        {"J": 3, "max_order": 1, "L": 5},
        {"J": 2, "L": 1},
        {"J": 3, "L": 12},
    ],
    ids=str,
)
def test_any_transform_of_any_shape_is_drawn(tmp_path, settings):
    draw_one(tmp_path / "images", (24, 40))
    scatcache.extract(tmp_path / "images", out=tmp_path / "s.zarr", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = scatcache.show(tmp_path / "s.zarr", 0, out=tmp_path / "a.png")
    with Image.open(picture) as opened:
        assert opened.size == (1600, 1000)


def test_a_constant_image_is_drawn_dark(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16, 16), (9, 99, 199)).save(tmp_path / "images/a.png")
    scatcache.extract(tmp_path / "images", out=tmp_path / "s.zarr", J=2, L=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = scatcache.show(tmp_path / "s.zarr", 0, out=tmp_path / "a.png")
    with Image.open(picture) as opened:
        assert max(opened.getpixel((458 + 234 + 150, 178 + 234 + 20))) < 40


def test_odd_keys_are_text_and_nothing_else(tmp_path, caplog):
    name = "$a_{b}^$ \\frac% ünï 漢字\u200f\t" + "x" * 150 + ".png"
    draw_one(tmp_path / "images", name=name)
    scatcache.extract(tmp_path / "images", out=tmp_path / "s.zarr", J=1, L=2)
    caplog.clear()
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        scatcache.show(tmp_path / "s.zarr", 0, out=tmp_path / "a.png")
    assert caplog.records == []


def test_drawable_text_has_glyphs_and_a_bounded_length():
    assert make_drawable("$a_b$ и ünï") == "$a_b$ и ünï"
    assert make_drawable("漢\n\x07") == "\\u6f22\\u000a\\u0007"
    long = make_drawable("a" * 60 + "漢" * 10 + "b" * 60, longest=50)
    assert len(long) == 50 and long.startswith("a" * 22) and " ... " in long and long.endswith("b" * 22)


def test_an_unreadable_row_raises(sound, tmp_path):
    cache = scatcache.open_cache(sound)
    unreadable = sorted(set(range(50)) - set(cache.readable.tolist()))
    assert len(unreadable) == len(UNREADABLE)
    with pytest.raises(scatcache.UnreadableImage, match=cache.keys[unreadable[0]]):
        scatcache.show(sound, unreadable[0], out=tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", [50, -51])
def test_a_row_out_of_range_raises_and_says_the_range(sound, row):
    with pytest.raises(IndexError, match=r"has 50 rows: give 0 to 49, or -50 to -1"):
        scatcache.show(sound, row)


def test_a_row_that_is_no_integer_raises(sound):
    with pytest.raises(TypeError):
        scatcache.show(sound, 1.0)


def test_rows_of_an_unfinished_split_are_drawn_if_they_are_there(sound, tmp_path, drawn):
    store = copy_store(sound, tmp_path)
    make_partial(store, missing=(1, 4))
    there = scatcache.open_cache(store, allow_partial=True).readable
    scatcache.show(store, there[0], out=tmp_path / "a.png")
    assert drawn[0].key == scatcache.open_cache(sound).keys[there[0]]
    absent = sorted(set(scatcache.open_cache(sound).readable.tolist()) - set(there.tolist()))[0]
    with pytest.raises(scatcache.StoreIncomplete):
        scatcache.show(store, absent, out=tmp_path / "a.png")


def test_of_several_splits_one_must_be_named(splits, tmp_path, drawn):
    with pytest.raises(scatcache.StoreIncomplete, match="test, train"):
        scatcache.show(splits, 0)
    scatcache.show(splits, 0, split="train", out=tmp_path / "a.png")
    assert "split train" in drawn[0].title


def test_an_out_that_cannot_be_is_told_at_once(sound, tmp_path, drawn):
    for out, message in [
        (tmp_path, "is a folder: name a file in it"),
        (tmp_path / "no" / "a.png", "no does not exist"),
        (tmp_path / "a.pdf", r"does not end in \.png"),
    ]:
        with pytest.raises(scatcache.ScatcacheError, match=message):
            scatcache.show(sound, 0, out=out)
    assert drawn == [] and list(tmp_path.iterdir()) == []


def test_drawing_leaves_matplotlib_as_it_was_and_heeds_no_style(sound, tmp_path):
    import matplotlib

    plain = scatcache.show(sound, 7, out=tmp_path / "a.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "image.origin": "lower", "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert scatcache.show(sound, 7, out=tmp_path / "b.png").read_bytes() == plain
        assert dict(matplotlib.rcParams) == before
    assert logging.getLogger("matplotlib").level == logging.NOTSET


def test_nothing_is_said_of_font_caches_nor_of_homes_that_cannot_be_written(sound, tmp_path):
    nowhere = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), "/proc/nowhere")
    quiet = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
    program = [sys.executable, "-m", "scatcache.commands", "show", str(sound), "7", "--out", str(tmp_path / "a.png")]
    for environment in ({**quiet, **nowhere}, {**quiet, "MPLCONFIGDIR": str(tmp_path / "fresh")}):
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/a.png\n", "")


def test_pyplot_is_not_imported(sound, tmp_path):
    program = f"import sys, scatcache; scatcache.show({str(sound)!r}, 7, out={str(tmp_path / 'a.png')!r})\n"
    program += "print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n"


def test_drawing_changes_nothing_in_the_store(sound, tmp_path):
    def listing():
        return {path: path.stat().st_mtime_ns for path in sound.parent.rglob("*")}

    before = listing()
    scatcache.show(sound, 3, out=tmp_path / "a.png")
    assert listing() == before


def test_pictures_of_the_documentation_are_small_enough():
    from tests.test_readme import ROOT

    pictures = sorted((ROOT / "docs/pictures").glob("*.png"))
    assert len(pictures) == 3 and all(picture.stat().st_size < 400_000 for picture in pictures)
