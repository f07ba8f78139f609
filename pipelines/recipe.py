"""What every recipe is asked on its command line, and how a recipe becomes a command."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

import scatcache

SMOKE_IMAGES = 64
EXIT_INTERRUPTED = 130
# On stderr, where there is nothing else to say.
SECONDS_BETWEEN_LINES = 10


@dataclass(frozen=True)
class Options:
    """What a recipe was asked.

    root: where the dataset's files are, None for scatcache's own places; stores: where stores are or are made; results:
    where the report goes; limit: images per split, None for all; device: "cpu" or "cuda"; seeds: one run each; epochs:
    in place of the recipe's; smoke: 64 photographs instead of the dataset; permute_labels: training labels are dealt
    anew at random; validate: a tenth of the training rows is held out and reported on, the test split left alone;
    checkpoint_minutes: between checkpoints; save_model: keep each run's weights; command: how to run this again.
    """

    root: Path | None
    stores: Path
    results: Path
    limit: int | None
    device: str
    seeds: tuple[int, ...]
    epochs: int | None
    as_json: bool
    smoke: bool
    permute_labels: bool
    validate: bool
    checkpoint_minutes: float
    save_model: bool
    command: str

    @property
    def suffix(self) -> str:
        """What tells these results from those of the recipe as it stands, in the names of files."""
        marks = {
            "-smoke": self.smoke,
            "-permuted": self.permute_labels,
            "-validation": self.validate,
            f"-limit{self.limit}": self.limit is not None,
        }
        return "".join(mark for mark, applies in marks.items() if applies)


def recipe(main: Callable[..., None]) -> click.Command:
    """The click command of main(options, ...): the options of all recipes before those that main declares.

    A ScatcacheError or ValueError ends it with its message on stderr and exit code 1, Ctrl-C with 130.
    """

    @functools.wraps(main)
    def run(**typed: Any) -> None:
        own = {name: value for name, value in typed.items() if name not in COMMON}
        common = {name: value for name, value in typed.items() if name in COMMON}
        try:
            main(Options(**common, command=tell_command(click.get_current_context(), main.__module__)), **own)
        except (scatcache.ScatcacheError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            say("interrupted: give the same command again")
            sys.exit(EXIT_INTERRUPTED)

    for option in reversed(COMMON.values()):
        run = option(run)
    return click.command(context_settings={"show_default": True, "max_content_width": 110})(run)


def parse_numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """(0, 1, 2, 7) of "0-2,7"."""
    numbers: list[int] = []
    for part in value.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(first) <= int(last))):
            raise click.BadParameter(f"{value!r}: expected 0, 0-4 or 0,2", context, parameter)
        numbers += range(int(first), int(last or first) + 1)
    if not numbers or len(set(numbers)) < len(numbers):
        raise click.BadParameter(f"{value!r} names no number, or one twice", context, parameter)
    return tuple(numbers)


def choose_device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """auto resolved; raises BadParameter for cuda where there is none."""
    if value == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter("torch sees no CUDA device: give --device cpu", context, parameter)
    return ("cuda" if torch.cuda.is_available() else "cpu") if value == "auto" else value


def tell_command(context: click.Context, module: str) -> str:
    """The command line that gives the same result, folders by what they are for: reports travel between machines."""
    words = ["python", "-m", find_module_name(module)]
    for parameter in context.command.params:
        value = context.params[parameter.name]
        if context.get_parameter_source(parameter.name) != click.core.ParameterSource.COMMANDLINE:
            continue
        flag = parameter.opts[0]
        if value is True:
            words.append(flag)
        elif parameter.multiple:
            words += [word for part in value for word in (flag, str(part))]
        elif isinstance(value, tuple):
            words += [flag, ",".join(map(str, value))]
        else:
            words += [flag, parameter.name.upper() if os.sep in str(value) or isinstance(value, Path) else str(value)]
    return " ".join(words)


def find_module_name(module: str) -> str:
    """pipelines.NAME, for a module that runs as __main__ too."""
    found = sys.modules[module]
    return f"pipelines.{Path(found.__file__ or module).stem}"


def say(text: str) -> None:
    """Progress, on stderr."""
    click.echo(text, err=True)


FOLDER = click.Path(file_okay=False, path_type=Path)
# By the names that Options has for them.
COMMON = {
    "root": click.option("--root", type=FOLDER, help="where the dataset's files are"),
    "stores": click.option("--stores", type=FOLDER, default=".", help="where the stores are, or are made"),
    "results": click.option("--results", type=FOLDER, default="results", help="where the report and the curves go"),
    "limit": click.option("--limit", type=click.IntRange(1), help="a fair sample of this many images of each split"),
    "device": click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", callback=choose_device
    ),
    "seeds": click.option("--seed", "seeds", default="0", callback=parse_numbers, help="one run each: 0, 0-4 or 0,2"),
    "epochs": click.option("--epochs", type=click.IntRange(1), help="instead of the recipe's; drops move along"),
    "as_json": click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object"),
    "smoke": click.option("--smoke", is_flag=True, help="64 photographs and narrow networks: does it run?"),
    "permute_labels": click.option(
        "--permute-labels", is_flag=True, help="control: training labels at random; accuracy must fall to chance"
    ),
    "validate": click.option(
        "--validate", is_flag=True, help="hold out a tenth of the training images and report on it, not on the test"
    ),
    "checkpoint_minutes": click.option(
        "--checkpoint-minutes", type=click.FloatRange(0), default=10, help="between checkpoints, from which to go on"
    ),
    "save_model": click.option("--save-model", is_flag=True, help="keep each run's weights beside the report"),
}
