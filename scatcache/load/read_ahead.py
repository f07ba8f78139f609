"""Reading in threads what will be asked for next."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Wanted = TypeVar("Wanted")
Found = TypeVar("Found")

# One batch being trained on, the next ones read meanwhile.
N_AHEAD = 2


def read_ahead(read: Callable[[Wanted], Found], batches: Sequence[Wanted]) -> Iterator[Found]:
    """Yields read(batch) for each batch in order, reading up to N_AHEAD of them in a thread meanwhile.

    What read raises is raised here, in its place. Leaving early waits for the one read under way.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="scatcache-load") as pool:
        ahead = deque(pool.submit(read, batch) for batch in batches[:N_AHEAD])
        try:
            for position in range(len(batches)):
                item = ahead.popleft().result()
                if position + N_AHEAD < len(batches):
                    ahead.append(pool.submit(read, batches[position + N_AHEAD]))
                yield item
        finally:
            for future in ahead:
                future.cancel()
