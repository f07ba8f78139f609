import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import NotAStore, StoreDamaged
from scatcache.spec import ANGLES, Pixels, ScatteringSpec
from scatcache.store.format.encodings import ENCODINGS, Calibration
from scatcache.store.format.layout import Generation, SplitLayout
from scatcache.store.format.manifest import FORMAT, Manifest, differing_fields
from scatcache.store.format.store_settings import Settings

specs = st.builds(
    ScatteringSpec, J=st.integers(1, 8), L=st.integers(1, 127), max_order=st.integers(0, 2), grid=st.just("kymatio")
)
counts = st.none() | st.integers(1, 10**6)
settings = st.builds(
    Settings,
    J=st.integers(1, 8),
    L=st.integers(1, 127),
    max_order=st.integers(0, 2),
    grid=st.sampled_from(["kymatio", "centered"]),
    encoding=st.sampled_from([name for name, encoding in ENCODINGS.items() if not encoding.quantised]),
    pool=counts,
    angles=st.sampled_from(ANGLES),
    pixels=st.just("native"),
    scale=st.floats(1e-9, 1e9),
    size=counts,
    limit=counts,
    seed=st.integers(0, 2**63 - 1),
    shard_images=counts,
)
with_views = settings.map(lambda one: replace(one, views=5, view_padding=3))
manifests = st.builds(
    Manifest,
    settings=settings.map(lambda one: replace(one, views=1)) | with_views,
    filter_bank=st.text(),
    source=st.text(),
    official=st.none() | st.booleans(),
    classes=st.lists(st.text()).map(tuple),
    colours=st.integers(1, 2**15 - 1),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
MERGED = Settings(J=2).merge(None, pixels="rgb", scale=255.0, encoding="float16")
MANIFEST = Manifest(MERGED, "sha256:0", "folder", None, ("a", "b"))
LAYOUT = SplitLayout((24, 24), 12, 3, (Generation(50, 50, "sha256:1"),))
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
trees = st.recursive(leaves, lambda children: st.dictionaries(st.text("ab", min_size=1), children), max_leaves=8)


PIXELS = MANIFEST.to_dict()["pixels"]


def vary(**change):
    return replace(MANIFEST, settings=replace(MANIFEST.settings, **change))


def through_json(fields):
    return json.loads(json.dumps(fields))


def make_quantised(pixels="rgb", **change):
    """Of quantised coefficients of 243 channels, one step for each."""
    settings = replace(MANIFEST.settings, encoding="quantised", step=0.5, pixels=pixels)
    steps = np.linspace(0.1, 1, 243, dtype=np.float32)
    return replace(MANIFEST, settings=settings, calibration=Calibration.of(0.5, steps, dtype="int16"), **change)


def test_steps_survive_json():
    manifest = make_quantised()
    again = Manifest.from_dict(through_json(manifest.to_dict()))
    assert again == manifest and again.stored_as.steps.tolist() == manifest.stored_as.steps.tolist()
    with pytest.raises(StoreDamaged, match="243 steps for 486 channels"):
        Manifest.from_dict(through_json(make_quantised(pixels="native", colours=6).to_dict()))


@given(manifests)
def test_manifest_survives_json(manifest):
    again = Manifest.from_dict(through_json(manifest.to_dict()))
    assert again == manifest and again.digest == manifest.digest
    assert again.pixels == Pixels("native", manifest.colours, manifest.dtype, manifest.settings.scale)
    assert again.spec.colours == manifest.colours


@pytest.mark.parametrize(
    "change",
    [
        {"settings": replace(MANIFEST.settings, **other)}
        for other in (
            {"seed": 1},
            {"encoding": "float32"},
            {"J": 3},
            {"views": 5, "view_padding": 3},
            {"views": 5, "view_padding": 2},
            {"scale": 1.0},
            {"pixels": "native"},
        )
    ]
    + [
        {"classes": ("b", "a")},
        {"source": "photos"},
        {"settings": replace(MANIFEST.settings, pixels="native"), "colours": 4},
        {"settings": replace(MANIFEST.settings, pixels="native"), "dtype": "uint16"},
    ],
)
def test_digest_tells_manifests_apart(change):
    assert replace(MANIFEST, **change).digest != MANIFEST.digest


@pytest.mark.parametrize("views", [{"n": 1, "padding": 3}, {"n": 5}, [5, 3]])
def test_views_that_there_cannot_be_are_damage(views):
    with pytest.raises(StoreDamaged, match=r"zarr\.json"):
        Manifest.from_dict({**MANIFEST.to_dict(), "views": views})


@pytest.mark.parametrize("views", [(7, 3), (5, 24)])
def test_views_that_the_rows_or_images_of_a_split_cannot_have_are_refused(views):
    vary(views=5, view_padding=3).check_split(LAYOUT)
    with pytest.raises(ValueError, match=r"views|padded"):
        vary(views=views[0], view_padding=views[1]).check_split(LAYOUT)


def test_images_too_small_for_the_transform_are_refused():
    with pytest.raises(ValueError, match="too small for J=8"):
        vary(J=8).check_split(LAYOUT)


def test_format_1_asks_for_a_new_extraction():
    with pytest.raises(NotAStore, match=r"format 1, .* extract to another --out, or anew with --overwrite"):
        Manifest.from_dict({"format": 1, "everything": "else"})


def test_settings_say_nothing_of_what_grows():
    assert MANIFEST.to_dict().keys() == {
        *("format", "spec", "pixels", "reduction", "filter_bank", "preprocessing", "decoder", "source", "encoding"),
        *("seed", "limit", "shard_images", "views", "classes"),
    }


def test_newer_format_asks_for_a_newer_scatcache():
    with pytest.raises(NotAStore, match=f"has format {FORMAT + 1}, .*install a newer scatcache"):
        Manifest.from_dict({"format": FORMAT + 1, "everything": "else"})


@pytest.mark.parametrize("fields", [None, [], {}, {"format": "1"}, {"format": 0}, {"format": None}])
def test_what_states_no_known_format_is_damaged(fields):
    with pytest.raises(StoreDamaged, match="states format"):
        Manifest.from_dict(fields)


@pytest.mark.parametrize("field", sorted(MANIFEST.to_dict().keys() - {"format"}))
def test_missing_field_is_damage(field):
    fields = {name: value for name, value in MANIFEST.to_dict().items() if name != field}
    with pytest.raises(StoreDamaged, match=r"zarr\.json"):
        Manifest.from_dict(fields)


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": {**PIXELS, "kind": "hsv"}},
        {"pixels": {**PIXELS, "colours": 4}},
        {"pixels": {**PIXELS, "dtype": "uint16"}},
        {"pixels": {**PIXELS, "scale": 0.0}},
        {"pixels": {**PIXELS, "scale": 255}},
        # Of pixels of another kind's decoder.
        {"pixels": {**PIXELS, "kind": "grey", "colours": 1}},
        {"pixels": {**PIXELS, "kind": "native"}},
        {"pixels": {**PIXELS, "kind": "native", "colours": 2**15}, "decoder": "native-1"},
        {"pixels": {**PIXELS, "kind": "native", "dtype": "int16"}, "decoder": "native-1"},
        {"reduction": {"pool": 2}},
        {"decoder": "another"},
        {"encoding": "uint8"},
        {"spec": {"J": 2, "L": 8, "max_order": 3, "grid": "kymatio"}},
        {"encoding": {**MANIFEST.to_dict()["encoding"], "dtype": "float32"}},
        {"encoding": {**MANIFEST.to_dict()["encoding"], "parameters": {}}},
        {"encoding": {**MANIFEST.to_dict()["encoding"], "name": "uint8"}},
        {"spec": None},
        {"encoding": {}},
        {"classes": "ab"},
        {"preprocessing": {"size": None, "surprise": 1}},
        {"source": 7},
        {"splits": {}},
        {"surprise": 1},
    ],
)
def test_value_that_is_never_written_is_damage(change):
    with pytest.raises(StoreDamaged, match=r"zarr\.json"):
        Manifest.from_dict({**MANIFEST.to_dict(), **change})


@given(trees, trees)
def test_differing_fields_are_none_exactly_for_equal_values(one, other):
    assert list(differing_fields(one, one)) == []
    found = list(differing_fields(one, other))
    assert found or without_none(one) == without_none(other)
    assert all(then != now for _, then, now in found)


def without_none(tree):
    """A field that is missing and one that is null are the same to a reader."""
    if not isinstance(tree, dict):
        return tree
    kept = {name: without_none(value) for name, value in tree.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}} or None


def test_differing_fields_are_dotted_leaves():
    wanted = vary(J=3, limit=7)
    found = list(differing_fields(MANIFEST.to_dict(), wanted.to_dict()))
    assert found == [("limit", None, 7), ("spec.J", 2, 3)]
