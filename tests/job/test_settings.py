import inspect
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import scatcache
from scatcache.click_options import add_table
from scatcache.errors import ScatcacheError, UsageError
from scatcache.job.options_page import tabulate
from scatcache.job.settings import ContentsOptions, ExtractOptions, PlanOptions, ResumeOptions, RunOptions, Settings
from scatcache.options import describe, list_options, setting
from scatcache.scattering.backends import _BACKENDS, AUTO
from scatcache.signatures import takes
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import ENCODING_OF, ENCODINGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("device", "tpu", "one of auto, cpu, cuda"),
        ("device", None, "one of auto, cpu, cuda"),
        ("backend", "kymatio", "one of auto, fused, native, torch"),
        ("on_error", "ignore", "one of skip, fail"),
        ("workers", 0, "an integer from 1"),
        ("workers", -2, "an integer from 1"),
        ("decode_threads", 0, "an integer from 1"),
        ("J", 0, "an integer from 1 to 8"),
        ("J", 9, "an integer from 1 to 8"),
        ("L", 128, "an integer from 1 to 127"),
        ("max_order", 3, "an integer from 0 to 2"),
        ("size", 0, "an integer from 1"),
        ("limit", -3, "an integer from 1"),
        ("views", 0, "an integer from 1 or 'all'"),
        ("view_padding", -1, "an integer from 0"),
        ("shard_images", 0, "an integer from 1"),
        ("seed", -1, "an integer from 0"),
        ("seed", 2**63, "an integer from 0"),
        ("grid", "corner", "one of kymatio, centered"),
        ("pixels", "rgba", "one of rgb, grey, native"),
        ("axes", "NHWD", "one of NHW, NHWC, NCHW, HW, HWC, CHW"),
        ("encoding", "bfloat16", "one of float16, float16raw, float32, quantised, quantised-zstd"),
    ],
)
def test_values_out_of_range_are_named_with_what_is_expected(name, value, expected):
    with pytest.raises(UsageError, match=f"^{name} is {value!r}: expected {expected}$") as caught:
        ExtractOptions(**{name: value})
    assert isinstance(caught.value, ScatcacheError | ValueError)


@pytest.mark.parametrize("value", [1.5, "2", [2]])
def test_what_is_no_number_is_a_type_error_that_names_the_option(value):
    with pytest.raises(TypeError, match=r"^J is .*: expected an integer from 1 to 8$"):
        Settings(J=value)


@pytest.mark.parametrize("value", [0, -1.5, float("inf"), float("nan")])
def test_a_scale_that_nothing_can_be_divided_by_is_named(value):
    with pytest.raises(UsageError, match=rf"^scale is {value:g}: expected a number above 0$"):
        Settings(scale=value)


def test_a_scale_is_any_real_number_and_a_text_is_none():
    assert Settings(scale=np.float32(0.5)).scale == 0.5 and Settings(scale=4095).scale == 4095.0
    with pytest.raises(TypeError, match=r"^scale is '2': expected a number above 0$"):
        Settings(scale="2")


def test_numbers_of_numpy_are_taken_as_pythons():
    settings = Settings(J=np.int64(2), seed=np.uint8(3))
    assert (type(settings.J), settings.J, type(settings.seed)) == (int, 2, int)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_whole_range_of_seeds_is_accepted(seed):
    assert Settings(seed=seed).seed == seed


def test_the_table_names_what_other_tables_hold():
    known = {entry.name: entry for entry in list_options(ExtractOptions)}
    assert known["backend"].known == (AUTO, *_BACKENDS)
    assert known["encoding"].known == tuple(ENCODINGS) and {*ENCODING_OF.values()} <= {*ENCODINGS}
    spec = ScatteringSpec(J=2)
    assert all(known[name].default == getattr(spec, name) for name in ("L", "max_order", "grid"))


def test_a_new_store_needs_J():
    with pytest.raises(UsageError, match="--J 2"):
        Settings(L=4).merge(None)


def test_what_is_not_typed_is_the_default_in_a_new_store():
    merged = Settings(J=2).merge(None, size=224)
    assert merged == Settings(J=2, L=8, max_order=2, grid="kymatio", size=224, angles="all", views=1, seed=0)


def test_padding_of_the_plain_image_is_refused():
    with pytest.raises(UsageError, match="view_padding is given for one view, the plain image: give views too"):
        Settings(J=2, view_padding=4).merge(None)
    assert Settings(J=2, views="all", view_padding=4).merge(None).view_padding == 4


def test_what_holds_all_of_extracts_options_is_nowhere_written_again():
    extract, plan, resume = (inspect.signature(getattr(scatcache, name)) for name in ("extract", "plan", "resume"))
    assert list(extract.parameters)[1:] == [entry.name for entry in list_options(ExtractOptions)]
    own = {"images", "image_shape", "quick"}
    given = list(extract.parameters.values())[1:]
    assert [each for each in plan.parameters.values() if each.name not in own][1:] == given
    assert own <= plan.parameters.keys() and not own & extract.parameters.keys()
    assert list(resume.parameters)[1:] == [entry.name for entry in list_options(ResumeOptions)]
    kinds = {parameter.kind for parameter in list(extract.parameters.values())[1:]}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    never = extract.parameters.keys() - resume.parameters.keys() - {"source"}
    assert never == {entry.name for entry in list_options(Settings)} | {"name", "version", "out", "overwrite"} | {
        entry.name for entry in list_options(ContentsOptions)
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("extract", ExtractOptions), ("plan", PlanOptions), ("resume", ResumeOptions)]
)
def test_help_shows_the_help_of_every_option_once(name, kind):
    text = " ".join(getattr(scatcache, name).__doc__.split())
    for entry in list_options(kind):
        assert text.count(f" {entry.name}: {' '.join(entry.describe().split())}") == 1


def test_an_option_that_there_is_none_of_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        scatcache.extract("photos", J=2, colour="red")


def test_resume_hands_on_what_it_takes():
    given = ResumeOptions(root="data", split="train", workers=3, on_error="fail")
    assert given.extend(split=("test",)) == ExtractOptions(root="data", split=("test",), workers=3, on_error="fail")


@pytest.mark.parametrize(
    ("split", "splits"), [(None, None), ((), None), ("train", ("train",)), (["train", "test"], ("train", "test"))]
)
def test_one_split_or_several_may_be_named(split, splits):
    assert ExtractOptions(split=split).splits == splits


# A new option


@dataclass(frozen=True, kw_only=True)
class Grown(Settings):
    """The table with one entry more."""

    step: int | None = setting("size of a step", default=3, stored="spec.step", within=(1, 9), metavar="STEP")


@takes(Grown, describe=describe)
def walk(source: str, options: Grown) -> Grown:
    """Walks."""
    return options


@click.command()
@add_table(Grown)
def command(**options):
    click.echo(options["step"])


def test_a_new_setting_is_one_entry():
    assert inspect.signature(walk).parameters["step"].annotation == int | None
    assert "step: size of a step [1 to 9; default: 3]" in walk.__doc__
    assert walk("photos", step=4).step == 4 and walk("photos", J=2).merge(None).step == 3
    assert Grown(step=4).within("spec")["step"] == 4
    stored = walk("photos", J=2, step=4).merge(None)
    assert stored.to_dict()["spec"]["step"] == 4 and Grown.from_dict(stored.to_dict()) == stored
    assert walk("photos", L=6).merge(stored).step == 4
    with pytest.raises(UsageError, match="step is 12: expected"):
        Grown.from_dict(stored.to_dict() | {"spec": {**stored.to_dict()["spec"], "step": 12}})
    with pytest.raises(UsageError, match="step is 10: expected an integer from 1 to 9"):
        walk("photos", step=10)
    shown = CliRunner().invoke(command, ["--help"]).output
    assert "--step STEP" in shown and "size of a step  [1 to 9; default: 3]" in shown
    assert CliRunner().invoke(command, ["--step", "5"]).output == "5\n"
    refused = CliRunner().invoke(command, ["--step", "10"])
    assert refused.exit_code == 2 and "'--step': step is 10: expected an integer from 1 to 9" in refused.output
    assert "| `--step` | `step` | 1 to 9 | 3 | yes | size of a step |\n" in tabulate(Grown)


def test_the_reference_page_holds_the_table():
    assert tabulate(ExtractOptions) in (ROOT / "docs" / "reference.md").read_text(), (
        "give `python -m scatcache.job.options_page` and put what it prints into docs/reference.md"
    )


def test_run_options_shape_no_bytes():
    assert [entry.name for entry in list_options(RunOptions) if entry.stored] == []
