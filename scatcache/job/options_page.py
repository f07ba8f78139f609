"""The options as a table of docs/reference.md; `python -m scatcache.job.options_page` prints it."""

from scatcache.job.settings import ExtractOptions
from scatcache.options import Option, Options, list_options
from scatcache.terminal import echo

HEAD = "| command line | Python | values | default | setting | what it is |\n|---|---|---|---|---|---|\n"


def tabulate(kind: type[Options]) -> str:
    """The options of a table in Markdown, a line each."""
    return HEAD + "".join(f"| {' | '.join(_list_cells(entry))} |\n" for entry in list_options(kind))


def _list_cells(entry: Option) -> list[str]:
    known = [f"`{text}`" for text in (*entry.known, *entry.words)]
    values = ", ".join(filter(None, [entry.range, *known])) or ("yes or no" if entry.is_flag else entry.metavar or "")
    typed = "" if entry.in_python else f"`{entry.spelling}`"
    return [typed, f"`{entry.name}`", values, entry.shown_default, "yes" if entry.stored else "", entry.help]


if __name__ == "__main__":
    echo(*tabulate(ExtractOptions).splitlines())
