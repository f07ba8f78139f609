"""What CONTRIBUTING shows of adding a source, a dataset, an encoding and a place runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def python_blocks(section: str) -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    within = re.search(rf"^## {section}$(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert within is not None
    return re.findall(r"^```python\n(.*?)^```", within[1], re.DOTALL | re.MULTILINE)


def test_adding_things_works_as_shown(tmp_path):
    blocks = python_blocks("Adding things")
    assert len(blocks) == 4
    program = [sys.executable, "-c", "\n".join(blocks)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"stripes.zarr", "stripes-zstd.zarr"}
