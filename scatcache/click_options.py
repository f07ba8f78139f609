"""The command line's options, made from a table of them."""

from collections.abc import Callable
from typing import Any

import click

from scatcache.errors import UsageError
from scatcache.options import Option, Options, list_options

Command = Callable[..., Any]


class TableType(click.ParamType):
    """What an option of a table takes, as the table checks it."""

    def __init__(self, entry: Option):
        self.entry, self.name = entry, "integer" if entry.within is not None else "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.entry.parse(value) if isinstance(value, str) else self.entry.check(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class TableOption(click.Option):
    """An option of a table; its help is put together when it is asked for, which may take imports."""

    def __init__(self, *args: Any, entry: Option, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.entry = entry

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.help = self.entry.describe(choices=self.entry.metavar is not None)
        return super().get_help_record(ctx)


def add_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator from several options, listed in --help in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def add_table(kind: type[Options]) -> Callable[[Command], Command]:
    """A decorator that gives a command every option of a table but those for Python alone."""
    return add_options(*(_make_option(entry) for entry in list_options(kind) if not entry.in_python))


def _make_option(entry: Option) -> Callable[[Command], Command]:
    facts: dict[str, Any] = {"cls": TableOption, "entry": entry, "default": entry.default if not entry.stored else None}
    if entry.is_flag:
        return click.option(entry.spelling, entry.name, is_flag=True, **facts)
    metavar = entry.metavar or (f"[{'|'.join(entry.known)}]" if entry.choices else None)
    return click.option(
        entry.spelling, entry.name, type=TableType(entry), metavar=metavar, multiple=entry.repeated, **facts
    )
