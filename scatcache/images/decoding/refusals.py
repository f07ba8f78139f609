"""What readers raise on damaged bytes, as UnreadableImage; what is this machine's failure passes."""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import PIL.Image

from scatcache.errors import ScatcacheError, UnreadableImage
from scatcache.images.decoding.strict_pillow import adopt_pillow

MAX_REASON_LENGTH = 200
# What readers raise on bytes that are no sound image. RuntimeError is not among them, nor MemoryError, nor ImportError:
# these tell of this process (a dictionary that another thread changed, no thread left), whatever the image.
DAMAGED = (
    *(SyntaxError, ValueError, TypeError, LookupError, EOFError, AttributeError, AssertionError, ArithmeticError),
    *(NotImplementedError, RecursionError, SystemError, OSError, struct.error, zlib.error),
    PIL.Image.DecompressionBombError,
)
# Codecs report their own want of memory so.
_NO_MEMORY = re.compile("out of memory|decoder error -9\\b")

Result = TypeVar("Result")


def try_twice(call: Callable[[], Result]) -> Result:
    """What call() returns, at the second try if not at the first: a failure that is recorded stays for good."""
    adopt_pillow()
    try:
        with turn_refusals():
            return call()
    except (UnreadableImage, RuntimeError):
        pass
    with turn_refusals():
        return call()


@contextmanager
def turn_refusals() -> Iterator[None]:
    """Turns what readers raise on damaged bytes into UnreadableImage, and lets this machine's failures pass."""
    try:
        yield
    except ScatcacheError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise UnreadableImage(describe_refusal(error)) from error


def describe_refusal(error: BaseException) -> str:
    """One printable line without object addresses, which change from run to run."""
    text = re.sub(r"\s*<[^<>]* object at 0x[0-9a-fA-F]+>", "", str(error))
    text = " ".join("".join(c if " " <= c <= "~" else " " for c in text).split())
    return text[:MAX_REASON_LENGTH] or type(error).__name__
