"""Functions that take the fields of a dataclass as their arguments, so that a signature and its defaults stand once."""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

First = TypeVar("First")
Fields = ParamSpec("Fields")
Options = TypeVar("Options")
Result = TypeVar("Result")


def takes(
    kind: Callable[Fields, Options],
) -> Callable[[Callable[[First, Options], Result]], Callable[Concatenate[First, Fields], Result]]:
    """Makes of function(first, options) one that is called as function(first, ...) with what kind(...) takes.

    kind: a dataclass, whose fields and defaults become the signature that help(), editors and type checkers show;
    first: what comes before them, such as self.
    """

    def decorate(function: Callable[[First, Options], Result]) -> Callable[Concatenate[First, Fields], Result]:
        @functools.wraps(function)
        def call(first: First, /, *args: Fields.args, **kwargs: Fields.kwargs) -> Result:
            return function(first, kind(*args, **kwargs))

        own = inspect.signature(function)
        leading = next(iter(own.parameters.values())).replace(kind=inspect.Parameter.POSITIONAL_ONLY)
        fields = inspect.signature(kind).parameters.values()
        call.__signature__ = own.replace(parameters=[leading, *fields])  # type: ignore[attr-defined]
        return call

    return decorate
