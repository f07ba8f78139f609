"""Recipes use the library as anybody does: by the names that scatcache exports."""

import ast
from pathlib import Path

import pytest

import scatcache

RECIPES = sorted((Path(__file__).resolve().parents[2] / "pipelines").glob("*.py"))


def private_names(source):
    """What of scatcache a module imports or names that is not public: (line, name)."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            faults += [(node.lineno, a.name) for a in node.names if a.name.startswith("scatcache.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "scatcache":
            public = scatcache.__all__ if node.module == "scatcache" else []
            faults += [(node.lineno, f"{node.module}.{a.name}") for a in node.names if a.name not in public]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "scatcache":
            faults += [] if node.attr in scatcache.__all__ else [(node.lineno, f"scatcache.{node.attr}")]
    return faults


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_import_nothing_that_is_not_public(path):
    assert private_names(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import scatcache.resources",
        "from scatcache.load.cache import Cache",
        "def f():\n    from scatcache import resources",
        "import scatcache\nscatcache.resources.count_cores()",
    ],
)
def test_private_name_is_found(source):
    assert len(private_names(source)) == 1
