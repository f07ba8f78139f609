"""Trying again what fails for a moment: a network file system that restarts, a disk that answers at the second try."""

import errno
import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

# A file server that restarts is back within these; a disk that is gone is not.
TRANSIENT_ERRNOS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR)
RETRY_PAUSES_S = (0.2, 1.0, 3.0)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def with_retries(call: Callable[[], Result]) -> Result:
    """What call() returns; failures that pass (TRANSIENT_ERRNOS) are tried again after RETRY_PAUSES_S.

    call must be a whole operation that may be repeated from its start: after a failed fsync the kernel may have dropped
    the data, so that only writing them again helps. One inside another multiplies the pauses: wrap one level alone.
    """
    for pause_s in RETRY_PAUSES_S:
        try:
            return call()
        except OSError as error:
            if error.errno not in TRANSIENT_ERRNOS:
                raise
            time.sleep(pause_s)
    return call()


def retried(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function under with_retries."""

    @functools.wraps(function)
    def retrying(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return with_retries(lambda: function(*args, **kwargs))

    return retrying
