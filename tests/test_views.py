import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.views import ViewedImage, Views, Window, choose_padding, count_windows, draw_windows

seeds = st.integers(0, 2**63 - 1)


def draw_as_documented(key, seed, n, padding):
    """docs/format.md, word for word."""
    side = 2 * padding + 1
    plain = padding * side + padding
    windows = [index for index in range(2 * side * side) if index != plain]
    text = b"".join(
        hashlib.blake2b(
            key.encode(), digest_size=64, key=seed.to_bytes(8, "little"), salt=block.to_bytes(16, "little")
        ).digest()
        for block in range(n // 16 + 1)
    )
    for draw in range(n - 1):
        word = int(np.frombuffer(text, "<u4")[draw])
        other = draw + word % (len(windows) - draw)
        windows[draw], windows[other] = windows[other], windows[draw]
    chosen = [plain, *windows[: n - 1]]
    return [(index % (side * side) // side, index % side, index >= side * side) for index in chosen]


@given(st.text(max_size=20), seeds, st.integers(0, 4), st.data())
def test_views_are_drawn_as_documented(key, seed, padding, data):
    n = data.draw(st.integers(2, count_windows(padding)))
    assert draw_windows(Views(n, padding), key=key, seed=seed) == draw_as_documented(key, seed, n, padding)


def test_the_drawing_is_frozen():
    # Others would orphan every store of views.
    windows = draw_windows(Views(4, 4), key="data_batch_1/00000", seed=0)
    assert windows == [Window(4, 4, False), Window(7, 0, False), Window(3, 5, False), Window(7, 2, False)]


@given(st.text(max_size=20), seeds)
def test_all_views_are_every_crop_and_its_mirror_image_once_the_plain_one_first(key, seed):
    windows = draw_windows(Views(162, 4), key=key, seed=seed)
    assert windows[0] == Window(4, 4, False)
    assert set(windows) == {(top, left, flip) for top in range(9) for left in range(9) for flip in (False, True)}
    assert len(windows) == 162


@given(st.text(max_size=20), seeds, st.integers(2, 161))
def test_fewer_views_are_the_first_of_more(key, seed, n):
    assert draw_windows(Views(n, 4), key=key, seed=seed) == draw_windows(Views(162, 4), key=key, seed=seed)[:n]


def test_views_are_about_uniform_over_keys():
    drawn = [draw_windows(Views(2, 1), key=str(number), seed=0)[1] for number in range(17_000)]
    counts = np.array([drawn.count(window) for window in sorted(set(drawn))])
    assert len(counts) == 17 and abs(counts - 1000).max() < 150


def test_a_view_is_what_reflect_padding_and_cropping_and_mirroring_gives():
    image = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    views = Views(50, 2)
    viewed = ViewedImage(image, views, key="a", seed=1)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    for view, (top, left, mirrored) in enumerate(draw_windows(views, key="a", seed=1)):
        crop = padded[top : top + 12, left : left + 10]
        np.testing.assert_array_equal(viewed.cut(view), np.flip(crop, 1) if mirrored else crop)
    np.testing.assert_array_equal(viewed.cut(0), image)


@pytest.mark.parametrize(
    ("n", "padding", "message"),
    [(1, 4, "views is 1"), (163, 4, "expected 1 to 162"), (3, 0, "expected 1 to 2"), (2, -1, "view_padding is -1"),
     (2**16 + 1, 500, "expected 1 to 65536")],
)  # fmt: skip
def test_views_that_there_are_not_are_refused(n, padding, message):
    with pytest.raises(ValueError, match=message):
        Views(n, padding)


def test_images_too_small_for_the_padding_are_refused():
    Views(2, 7).check_shape(8, 20)
    with pytest.raises(ValueError, match="8x20 pixels cannot be padded by 8"):
        Views(2, 8).check_shape(8, 20)


@pytest.mark.parametrize(("shape", "padding"), [((32, 32), 4), ((96, 96), 8), ((224, 224), 8), ((7, 90), 0)])
def test_the_default_padding_is_an_eighth_at_most_8(shape, padding):
    assert choose_padding(*shape) == padding


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"n": 2, "padding": "4"}, {"n": True, "padding": 4}, {"n": 500, "padding": 4}]
)
def test_malformed_fields_are_refused(fields):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Views.from_dict(fields)


def test_views_survive_their_fields():
    assert Views.from_dict(Views(20, 4).to_dict()) == Views(20, 4)
