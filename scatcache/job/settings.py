"""How a job runs, as against what it makes: nothing here shapes a store's bytes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """What never shapes a store's bytes; see extract()."""

    device: str = "auto"
    backend: str = "auto"
    workers: int | None = None
    processes: bool = False
    decode_threads: int | None = None
    scheduler: str | None = None
    on_error: str = "skip"
    retry_unreadable: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("device", ("auto", "cpu", "cuda")), ("on_error", ("skip", "fail"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(allowed)}")
        for name in ("workers", "decode_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: expected at least 1")
