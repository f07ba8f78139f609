"""Functions that take the fields of a dataclass as their arguments, so that a signature and its defaults stand once."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

First = TypeVar("First")
Fields = ParamSpec("Fields")
Options = TypeVar("Options")
Result = TypeVar("Result")


def takes(
    kind: Callable[Fields, Options], *, describe: Callable[[Any], str] | None = None
) -> Callable[[Callable[[First, Options], Result]], Callable[Concatenate[First, Fields], Result]]:
    """Makes of function(first, options) one that is called as function(first, ...) with what kind(...) takes.

    kind: a dataclass, whose fields and defaults become the signature that help(), editors and type checkers show;
    first: what comes before them, such as self. describe: makes of kind the text that the docstring ends with.
    """

    def decorate(function: Callable[[First, Options], Result]) -> Callable[Concatenate[First, Fields], Result]:
        own = inspect.signature(function)
        leading = next(iter(own.parameters.values()))
        signature = own.replace(parameters=[leading, *inspect.signature(kind).parameters.values()])

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Result:
            given = signature.bind(*args, **kwargs).arguments
            first = given.pop(leading.name, leading.default)
            return function(first, cast(Callable[..., Options], kind)(**given))

        call.__signature__ = signature  # type: ignore[attr-defined]
        if describe is not None:
            call.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{describe(kind)}"
        return cast(Callable[Concatenate[First, Fields], Result], call)

    return decorate
