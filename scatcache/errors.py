"""What scatcache raises. Each error is also the built-in that fits it, so that callers may catch either."""


class ScatcacheError(Exception):
    """Anything scatcache refuses or fails to do; the message says what was found, expected and to type next."""


class UsageError(ScatcacheError, ValueError):
    """What was typed is wrong: out of range, unknown, or options that do not go together; nothing was done."""


class SourceError(ScatcacheError, ValueError):
    """A dataset is missing, malformed or contradicts itself; nothing was written."""


class UnreadableImage(ScatcacheError, ValueError):
    """The bytes of one image were read in full and do not decode; recorded in the receipt, never fatal alone."""


class SettingsDiffer(ScatcacheError, ValueError):
    """A store was made with other settings, or from another listing, than asked for now.

    fields: the differing manifest fields, dotted, as in "spec.J".
    """

    def __init__(self, message: str, fields: tuple[str, ...] = ()):
        super().__init__(message)
        self.fields = fields

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        return type(self), (self.args[0], self.fields)


class StoreLocked(ScatcacheError, BlockingIOError):
    """Another live process is writing this store."""


class StoreDamaged(ScatcacheError, ValueError):
    """Stored bytes are torn, flipped, exchanged or foreign; the message names split, shard and row."""


class StoreIncomplete(ScatcacheError, LookupError):
    """Rows are asked for that no extraction has finished yet."""


class NotAStore(ScatcacheError, FileNotFoundError):
    """There is no scatcache store at this path, or one of a newer format."""


class BackendUnavailable(ScatcacheError, RuntimeError):
    """The device or the backend asked for cannot run on this machine."""
