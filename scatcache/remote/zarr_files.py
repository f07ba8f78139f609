"""Files of a place as a store of zarr-python, for reading by their names alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from scatcache.errors import ScatcacheError
from scatcache.remote.objects import Span

# (bytes, size of the whole file), or None; see ObjectFiles.fetch.
Fetch = Callable[[str, Span | None], tuple[bytes, int] | None]


def _tell_others(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio prints of tasks nobody asked about, but for failures of ours: zarr-python asks for several files at
    once, and raises the first failure alone."""
    if not isinstance(context.get("exception"), ScatcacheError):
        loop.default_exception_handler(context)


class ZarrFiles(Store):
    """What fetch gives. It neither lists nor writes."""

    supports_writes, supports_deletes, supports_listing = False, False, False

    def __init__(self, fetch: Fetch):
        super().__init__(read_only=True)
        self._fetch = fetch

    def __eq__(self, other: object) -> bool:
        return self is other

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        loop = asyncio.get_running_loop()
        if loop.get_exception_handler() is None:
            loop.set_exception_handler(_tell_others)
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    def _read(self, key: str, wanted: ByteRequest | None) -> bytes | None:
        spans: dict[type, Callable[[Any], Span]] = {
            RangeByteRequest: lambda wanted: (wanted.start, wanted.end),
            SuffixByteRequest: lambda wanted: wanted.suffix,
        }
        span = None if wanted is None or isinstance(wanted, OffsetByteRequest) else spans[type(wanted)](wanted)
        try:
            found = self._fetch(key, span)
        except FileNotFoundError:
            return None
        assert found is not None
        return found[0][wanted.offset :] if isinstance(wanted, OffsetByteRequest) else found[0]

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, wanted) for key, wanted in key_ranges)))

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._read, key, RangeByteRequest(0, 1)) is not None

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    def list(self) -> AsyncIterator[str]:
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
