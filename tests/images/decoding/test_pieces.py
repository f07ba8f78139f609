import io

from hypothesis import given
from hypothesis import strategies as st

from scatcache.images.decoding.pieces import join_pieces

DATA = bytes(range(256)) * 3
RANGES = st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))).map(lambda ends: range(*sorted(ends)))


@given(st.lists(RANGES | st.binary(max_size=9), max_size=6), st.data())
def test_pieces_read_as_their_bytes_joined(pieces, data):
    joined = b"".join(piece if isinstance(piece, bytes) else DATA[piece.start : piece.stop] for piece in pieces)
    file, expected = join_pieces(io.BytesIO(DATA), pieces), io.BytesIO(joined)
    for _ in range(data.draw(st.integers(1, 6))):
        offset, whence = data.draw(st.integers(0, 900)), data.draw(st.sampled_from([io.SEEK_SET, io.SEEK_END]))
        offset = -min(offset, len(joined)) if whence else offset
        assert file.seek(offset, whence) == expected.seek(offset, whence) == file.tell()
        n_bytes = data.draw(st.integers(-1, 400))
        assert file.read(n_bytes) == expected.read(n_bytes)


def test_a_whole_file_is_itself():
    file = io.BytesIO(DATA)
    assert join_pieces(file, [range(100), b"", range(100, len(DATA))]) is file
    assert join_pieces(file, [range(100), range(100, len(DATA) - 1)]) is not file
