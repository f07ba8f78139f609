import inspect
from dataclasses import KW_ONLY, dataclass

import pytest

from scatcache.signatures import takes


@dataclass(frozen=True)
class Options:
    size: int
    colour: str = "red"
    _: KW_ONLY
    deep: bool = False


@takes(Options)
def paint(wall: str, options: Options) -> tuple[str, Options]:
    """Paints a wall."""
    return wall, options


class Painter:
    @takes(Options)
    def paint(self, options: Options) -> Options:
        return options


def test_function_gets_its_options_as_one_record():
    assert paint("north", 3, deep=True) == ("north", Options(3, "red", deep=True))
    assert Painter().paint(1, "blue") == Options(1, "blue")


def test_signature_is_that_of_the_options():
    shown = str(inspect.signature(paint)).partition(" ->")[0]
    assert shown == "(wall: str, size: int, colour: str = 'red', *, deep: bool = False)"
    assert list(inspect.signature(Painter().paint).parameters) == ["size", "colour", "deep"]
    assert paint.__doc__ == "Paints a wall." and paint.__name__ == "paint"


@pytest.mark.parametrize(
    ("arguments", "named"), [({"size": 1, "depth": 2}, "depth"), ({}, "size")], ids=["unknown", "missing"]
)
def test_arguments_that_do_not_fit_are_named(arguments, named):
    with pytest.raises(TypeError, match=named):
        paint("north", **arguments)


def test_no_option_is_taken_by_position_that_is_a_keyword():
    with pytest.raises(TypeError):
        paint("north", 3, "red", True)
