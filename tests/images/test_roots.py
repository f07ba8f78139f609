from pathlib import Path

import pytest

from scatcache.errors import SourceError
from scatcache.images.roots import has_any, locate_root


@pytest.fixture(autouse=True)
def empty_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)


def put(folder: str) -> Path:
    Path(folder).mkdir(parents=True)
    (Path(folder) / "wanted.tar").touch()
    return Path(folder).absolute()


def test_places_are_looked_in_in_this_order(monkeypatch):
    monkeypatch.setenv("SCATCACHE_DATA", "elsewhere")
    last = put("data")
    assert locate_root("name", None, "wanted.tar", holds=has_any("wanted.tar")) == last
    middle = put("data/name")
    assert locate_root("name", None, "wanted.tar", holds=has_any("wanted.tar")) == middle
    first = put("elsewhere/name")
    assert locate_root("name", None, "wanted.tar", holds=has_any("wanted.tar")) == first


def test_a_given_root_is_the_only_place():
    put("data")
    with pytest.raises(SourceError, match="--root"):
        locate_root("name", Path("other"), "wanted.tar", holds=has_any("wanted.tar"))


def test_the_error_lists_places_files_and_what_to_do(monkeypatch):
    monkeypatch.setenv("SCATCACHE_DATA", "elsewhere")
    Path("data").mkdir()
    with pytest.raises(SourceError) as caught:
        locate_root("name", None, "one.tar, two/", holds=has_any("one.tar", "two/"))
    message = str(caught.value)
    for part in (
        "elsewhere/name (no such folder)",
        "data/name",
        ", data:",
        "one.tar, two/",
        "--root",
        "$SCATCACHE_DATA",
    ):
        assert part in message
