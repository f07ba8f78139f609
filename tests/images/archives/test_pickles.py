import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import SourceError
from scatcache.images.archives.pickles import load_pickled_fields

FIELDS = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [0, 1, 2], "batch_label": "batch 1 of 5"}


class _RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_lists_and_text_of_every_protocol_load(tmp_path, protocol):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(FIELDS, protocol))
    fields = load_pickled_fields(path)
    np.testing.assert_array_equal(fields.pop("data"), FIELDS["data"])
    assert fields == {"labels": [0, 1, 2], "batch_label": "batch 1 of 5"}


def test_arrays_pickled_by_python_2_and_numpy_1_load(tmp_path):
    # As the official archive has them: protocol 2, bytes as SHORT_BINSTRING, keys too, NumPy's old module names.
    text = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K\x03"
        b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x06\x00\x01\x80\xfe\xff\x07tbU\x06labels]K\x03au."
    )
    path = tmp_path / "batch"
    path.write_bytes(text)
    fields = load_pickled_fields(path)
    np.testing.assert_array_equal(fields["data"], np.array([[0, 1, 128], [254, 255, 7]], np.uint8))
    assert fields["labels"] == [3]


def test_keys_pickled_as_bytes_are_text(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({b"labels": [1]}))
    assert load_pickled_fields(path) == {"labels": [1]}


def test_a_pickle_that_would_run_code_does_not_run(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": _RunsCode(tmp_path / "ran")}))
    with pytest.raises(SourceError, match=r"batch.*mkdir"):
        load_pickled_fields(path)
    assert not (tmp_path / "ran").exists()


def test_no_codec_but_latin1_is_looked_up(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(SourceError, match="rot13"):
        load_pickled_fields(path)


@given(st.data())
def test_a_damaged_pickle_names_its_file_and_nothing_else_escapes(tmp_path_factory, data):
    content = bytearray(pickle.dumps(FIELDS, 2))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged_batch"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        load_pickled_fields(path)
    except SourceError as error:
        assert "damaged_batch" in str(error)
    except MemoryError:
        pass


def test_another_object_than_a_dict_is_refused(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(SourceError, match="list: expected a dict"):
        load_pickled_fields(path)
