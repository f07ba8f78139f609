"""The shape of the code: how long modules and functions are, their names, and that no signature is written twice."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layers import MODULES, ROOT, module_name

PATHS = [*MODULES, *sorted((ROOT / "pipelines").glob("*.py")), ROOT / "cli.py"]
MODULE_LINES = 299
FUNCTION_LINES = 50
# So many parameters or fields alike, one after the other, are a signature written twice.
SAME_PARAMETERS = 6

Function = ast.FunctionDef | ast.AsyncFunctionDef


def without_docstring(node: ast.Module | Function) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node) is not None else node.body


def is_table(node: ast.Module | Function) -> bool:
    """Whether a literal is all there is: what a function returns, or what a module assigns after its imports."""
    body = [
        statement for statement in without_docstring(node) if not isinstance(statement, ast.Import | ast.ImportFrom)
    ]
    displays = (ast.Dict, ast.Tuple, ast.List, ast.Set)
    if isinstance(node, ast.Module):
        return all(isinstance(s, ast.Assign | ast.AnnAssign) for s in body) and any(
            isinstance(getattr(s, "value", None), displays) for s in body
        )
    return len(body) == 1 and isinstance(body[0], ast.Return) and isinstance(body[0].value, displays)


def functions_of(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """(dotted name, node) of every function, method and class."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield f"{prefix}.{node.name}", node
            yield from functions_of(node, f"{prefix}.{node.name}")
        elif not isinstance(node, ast.expr):
            yield from functions_of(node, prefix)


def long_parts(name: str, source: str) -> set[str]:
    """The module and the functions in it that are too long; tables may be."""
    tree = ast.parse(source)
    found = set()
    if len(source.splitlines()) > MODULE_LINES and not is_table(tree):
        found.add(f"{name} has more than {MODULE_LINES} lines")
    for function, node in functions_of(tree, name):
        if isinstance(node, ast.ClassDef) or is_table(node):
            continue
        assert node.end_lineno is not None
        if node.end_lineno - node.lineno >= FUNCTION_LINES:
            found.add(f"{function} has more than {FUNCTION_LINES} lines")
    return found


def parameters_of(node: Function | ast.ClassDef) -> list[str]:
    """The parameters of a function or the fields of a class, as "name: annotation"."""
    if isinstance(node, ast.ClassDef):
        fields = [s for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
        return [f"{ast.unparse(field.target)}: {ast.unparse(field.annotation)}" for field in fields]
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    shown = [f"{a.arg}: {ast.unparse(a.annotation) if a.annotation else ''}" for a in arguments]
    return [text for text in shown if text not in ("self: ", "cls: ")]


def doubled_signatures(sources: dict[str, str]) -> set[str]:
    """Groups of functions and classes that share a run of parameters, or all their parameters' names."""
    sharing: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for module, source in sources.items():
        for name, node in functions_of(ast.parse(source), module):
            parameters = parameters_of(node)
            names = tuple(text.partition(":")[0] for text in parameters)
            if len(names) >= SAME_PARAMETERS:
                sharing[names].add(name)
            for start in range(len(parameters) - SAME_PARAMETERS + 1):
                sharing[tuple(parameters[start : start + SAME_PARAMETERS])].add(name)
    return {" and ".join(sorted(names)) for names in sharing.values() if len(names) > 1}


def doubled_names(paths: list[Path]) -> set[str]:
    """Names that several modules have."""
    modules = defaultdict(list)
    for path in paths:
        if path.name != "__init__.py":
            modules[path.stem].append(module_name(path))
    return {f"{' and '.join(sorted(names))} have one name" for names in modules.values() if len(names) > 1}


def doubled_definitions(sources: dict[str, str]) -> set[str]:
    """Public functions and classes of one name in several modules. Commands are called as the function they call."""
    modules = defaultdict(list)
    for module, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(f"{module}.{node.name}")
    commands = "scatcache.commands."
    kept = [[name for name in names if not name.startswith(commands) or len(names) > 2] for names in modules.values()]
    return {f"{' and '.join(sorted(names))} have one name" for names in kept if len(names) > 1}


@pytest.mark.parametrize("path", PATHS, ids=module_name)
def test_modules_and_functions_are_short(path):
    assert long_parts(module_name(path), path.read_text()) == set()


def test_no_signature_is_written_twice():
    assert doubled_signatures({module_name(path): path.read_text() for path in PATHS}) == set()


def test_no_two_modules_have_one_name():
    assert doubled_names(MODULES) == set()


def test_no_two_functions_or_classes_have_one_name():
    sources = {module_name(path): path.read_text() for path in MODULES}
    assert doubled_definitions(sources) == set()


def test_long_module_and_function_are_found_and_tables_are_not():
    body = "    x = 1\n" * FUNCTION_LINES
    assert long_parts("m", f"def f():\n{body[:-10]}") == set()
    assert long_parts("m", f"class A:\n  def f(self):\n{body}") == {"m.A.f has more than 50 lines"}
    assert long_parts("m", f"def f():\n    def g():\n{body.replace('    ', '        ')}") == {
        f"m.{name} has more than 50 lines" for name in ("f", "f.g")
    }
    table = "[\n" + "    1,\n" * (MODULE_LINES + 1) + "]\n"
    assert long_parts("m", f'"""Text."""\nimport os\nA = {table}B = 1\n') == set()
    assert long_parts("m", f'def f():\n    """Text."""\n    return {table}f()\n') == {"m has more than 299 lines"}
    assert len(long_parts("m", f"def f():\n    return sum({table})\nf()\n")) == 2


def test_signature_written_twice_is_found():
    six = "a: int, b: int, c: int, d: str, e: str, f: str"
    twice = {"m": f"def g({six}): ...\nclass A:\n    def h(self, z: int, {six}, y: int): ..."}
    assert doubled_signatures(twice) == {"m.A.h and m.g"}
    fields = "class A:\n    " + "\n    ".join(six.split(", "))
    assert doubled_signatures({"m": f"def g(*, {six}): ...", "n": fields}) == {"m.g and n.A"}
    assert doubled_signatures({"m": "def g(a, b, c, d, e, f): ...\ndef h(a: int, b, c, d, e, f=1): ..."}) == {
        "m.g and m.h"
    }
    other = six.replace("c: int", "c: str")
    assert doubled_signatures({"m": f"def g({six}): ...\ndef h({other}, y: int): ..."}) == set()


def test_modules_of_one_name_are_found():
    paths = [ROOT / "scatcache" / name for name in ("a/rows.py", "b/rows.py", "a/__init__.py", "b/__init__.py", "c.py")]
    assert doubled_names(paths) == {"scatcache.a.rows and scatcache.b.rows have one name"}


def test_functions_of_one_name_are_found():
    sources = {"a": "def f(): ...\ndef _g(): ...", "b": "class f: ...\ndef _g(): ...\ndef h(): ..."}
    assert doubled_definitions(sources) == {"a.f and b.f have one name"}
    command = {"scatcache.commands": "def h(): ..."}
    assert doubled_definitions({"b": sources["b"], **command}) == set()
    assert len(doubled_definitions({**command, "b": "def h(): ...", "c": "def h(): ..."})) == 1
