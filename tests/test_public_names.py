import ast
import inspect

import pytest

import scatcache
from scatcache.job.events import Event


def type_checked():
    """(module, name) of every import that type checkers see, each under its own name."""
    tree = ast.parse(inspect.getsource(scatcache))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)
    return [(node.module, alias.name) for node in block.body for alias in node.names]


def test_names_that_type_checkers_see_are_those_there_are():
    assert sorted(type_checked()) == sorted((f"scatcache{module}", name) for name, module in scatcache._MODULES.items())


@pytest.mark.parametrize("name", scatcache.__all__)
def test_every_public_name_is_there(name):
    assert getattr(scatcache, name) is not None and name in dir(scatcache)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'cache'"):
        _ = scatcache.cache


def test_every_event_is_public():
    assert scatcache.Event is Event
    assert all(getattr(scatcache, kind.__name__) is kind for kind in Event.__args__)
