"""Where the command writes: whatever a name holds, the terminal shows it and does not obey it."""

import io
import json
import logging
import re
import sys
from typing import Any

import click

# A fixed list, not str.isprintable(), which changes with Python's Unicode tables: control characters, separators of
# lines and paragraphs, marks that reorder or hide what a terminal shows, lone surrogates (bytes that are no UTF-8).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def escape(text: object, *, keep: str = "") -> str:
    """Text on one line that every terminal shows as it is; a byte that is no UTF-8 as `\\xNN`, the rest as `\\uNNNN`.

    keep: characters that stay all the same.
    """
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), str(text))


def _escape(character: str) -> str:
    code = ord(character)
    # Python's surrogateescape keeps an undecodable byte b as the lone surrogate U+DC00 + b.
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def echo(*lines: object, err: bool = False) -> None:
    """Lines on stdout or stderr. What a line holds of names stays on it."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for line in lines:
        # A terminal of another encoding shows the rest by escapes too.
        click.echo(escape(line).encode(encoding, "backslashreplace").decode(encoding), err=err)


def echo_json(value: Any) -> None:
    """One JSON object on stdout, ASCII alone."""
    click.echo(json.dumps(value).replace("\x7f", "\\u007f"))


def show_click_error(error: click.ClickException) -> None:
    """What click shows of an error on the command line, on stderr."""
    if type(error) is click.UsageError:  # its text is one line, made of what was typed
        error = click.UsageError(escape(error.message), ctx=error.ctx)
    shown = io.StringIO()
    error.show(file=shown)
    echo(*shown.getvalue().splitlines(), err=True)


class LogHandler(logging.Handler):
    """Log lines on stderr; of a traceback, each of its lines."""

    def emit(self, record: logging.LogRecord) -> None:
        first, *rest = self.format(record).split("\n") if record.exc_info else [self.format(record)]
        echo(first, *rest, err=True)
