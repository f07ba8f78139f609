"""The pages about the code name what there is: files, names in them, and other pages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# `a/b.py: name, other.method`, the path relative to scatcache/.
MENTION = re.compile(r"`([\w/]+\.py): ([\w., ]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)")


def show(path: Path) -> str:
    return str(path.relative_to(ROOT))


def mentions(text: str) -> set[tuple[str, str]]:
    """(file, dotted name) of everything that a page mentions."""
    return {(file, name) for file, names in MENTION.findall(" ".join(text.split())) for name in names.split(", ")}


def names_in(source: str) -> set[str]:
    """What a module defines at its top, and of classes their methods and fields, dotted."""
    found = set()
    for node in ast.parse(source).body:
        found |= defined_by(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in defined_by(inner)}
    return found


def defined_by(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize("page", PAGES, ids=show)
def test_every_name_that_a_page_mentions_exists(page):
    missing = []
    for file, name in sorted(mentions(page.read_text())):
        path = ROOT / "scatcache" / file
        if not path.exists() or name not in names_in(path.read_text()):
            missing.append(f"{file}: {name}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=show)
def test_every_link_leads_to_a_file(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_the_walks_mention_names():
    assert len(mentions((ROOT / "docs/architecture.md").read_text())) > 30


def test_mentions_are_found():
    assert mentions("see `a/b.py: c, D.e`\nand `a/b.py:\nf` but not `a/b.py`") == {
        ("a/b.py", n) for n in ("c", "D.e", "f")
    }
    assert names_in("X = 1\nclass D:\n    y: int\n    def e(self): ...\ndef c(): ...") == {"X", "D", "D.y", "D.e", "c"}
