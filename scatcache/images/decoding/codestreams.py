"""What coded pictures say of themselves at their heads: JPEG, JPEG 2000 and AVIF, alone or in a strip of a TIFF."""

# The marker of a JPEG 2000 codestream's sizes; behind it, its number of components and their depths.
_SIZ, _SIZ_COMPONENTS = b"\xff\x4f\xff\x51", 40
_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = (0x01, *range(0xD0, 0xD9))


def find_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG stream; None where it is none, or ends before its end."""
    if not data.startswith(_START) or _END not in data[-64:]:
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _FRAMES:
            sizes = data[position + 5 : position + 9]
            return int.from_bytes(sizes[:2], "big"), int.from_bytes(sizes[2:], "big")
        if marker == _SCAN:
            return None
        is_short = marker in _STANDALONE or marker == 0xFF
        n_bytes = 0 if is_short else int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == 0xFF else 2 + n_bytes
    return None


def list_jpeg2000_depths(data: bytes) -> list[int]:
    """The bits of each component of a JPEG 2000 codestream, below 0 for signed ones."""
    start = data.find(_SIZ)
    if start < 0:
        return []
    n_components = int.from_bytes(data[start + _SIZ_COMPONENTS : start + _SIZ_COMPONENTS + 2], "big")
    depths = data[start + _SIZ_COMPONENTS + 2 :][: 3 * n_components : 3]
    return [-((depth & 0x7F) + 1) if depth & 0x80 else depth + 1 for depth in depths]


def is_deep_avif(data: bytes) -> bool:
    """Whether the configuration of the first AV1 item announces more than 8 bits."""
    start = data.find(b"av1C")
    return start >= 0 and bool(data[start + 6 : start + 7]) and bool(data[start + 6] & 0x40)
