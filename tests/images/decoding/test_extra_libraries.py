import logging
import sys
import threading

import pytest

from scatcache.errors import SourceError
from scatcache.images.decoding import extra_libraries
from scatcache.images.decoding.extra_libraries import call_library, import_extra
from scatcache.images.decoding.strict_pillow import strict_pillow


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(extra_libraries, "_quiet", {})


def test_a_missing_library_is_named_with_its_extra():
    with pytest.raises(
        SourceError, match=r"^reading tea leaves needs no_such_library: pip install 'scatcache\[tea\]'$"
    ):
        import_extra("no_such_library.leaves", "tea leaves", "tea")


def test_a_library_that_is_broken_says_so_itself(monkeypatch, tmp_path):
    (tmp_path / "broken_library.py").write_text("raise ImportError('libgomp is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="libgomp"):
        import_extra("broken_library", "anything", "extra")


def test_its_warnings_and_logs_are_heard_only_by_threads_that_do_not_decode(monkeypatch, tmp_path, caplog, recwarn):
    (tmp_path / "loud_library.py").write_text(
        "import logging, warnings\n"
        "def cry():\n    warnings.warn('doubt', stacklevel=2)\n    logging.getLogger('loud_library').warning('doubt')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    caplog.set_level(logging.DEBUG)
    library = import_extra("loud_library", "anything", "extra")
    with strict_pillow():
        library.cry()
        assert (len(recwarn), len(caplog.records)) == (0, 0)
        other = threading.Thread(target=library.cry)
        other.start()
        other.join()
    assert (len(recwarn), len(caplog.records)) == (1, 1)
    library.cry()
    assert (len(recwarn), len(caplog.records)) == (2, 2)
    del sys.modules["loud_library"]


def raise_error(error):
    raise error


def test_only_what_codecs_say_of_damaged_bytes_becomes_a_value_error():
    class CfitsioException(Exception):
        pass

    class LzwError(RuntimeError):
        __module__ = "imagecodecs._imcd"

    for error in (CfitsioException("hit end"), LzwError("corrupt")):
        with pytest.raises(ValueError, match=str(error)):
            call_library(lambda error=error: raise_error(error))
    with pytest.raises(MemoryError):
        call_library(lambda: raise_error(LzwError("inflate returned Z_MEM_ERROR")))
    for error in (RuntimeError("can't start new thread"), MemoryError(), OSError(5, "I/O"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            call_library(lambda error=error: raise_error(error))
        assert caught.value is error
    assert call_library(lambda: 3) == 3
