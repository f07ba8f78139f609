import json

import pytest

from scatcache.store.format.json_text import to_json


def test_equal_values_have_one_text():
    assert to_json({"b": 1, "a": [0.1, "ä"]}) == to_json({"a": [0.1, "ä"], "b": 1}) == b'{"a":[0.1,"\\u00e4"],"b":1}\n'


def test_text_holds_no_nan():
    with pytest.raises(ValueError, match=r"NaN|JSON"):
        to_json({"a": float("nan")})
    assert json.loads(to_json([1e-323, 1.7976931348623157e308])) == [1e-323, 1.7976931348623157e308]
