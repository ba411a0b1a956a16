"""The Python code of the documents runs, on a published model and a poster."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = [
    pytest.param(code, id=f"{page}-{number}")
    for page in ("README.md", "docs/model.md")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.S | re.M))
]


@pytest.mark.backbone
@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet_names_genres_without_this_project(small_run, tmp_path: Path, code: str) -> None:
    (tmp_path / "model").symlink_to(small_run.run.model.path)
    shutil.copy2(small_run.posters[0], tmp_path / "poster.jpg")
    foreign = "{'tasks', 'flows'}" if "import tensorflow" in code else "{'tasks', 'flows', 'tensorflow'}"
    code += f"\nimport sys\nassert not {foreign} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert any(genre in done.stdout for genre in small_run.run.metrics["vocabulary"])
