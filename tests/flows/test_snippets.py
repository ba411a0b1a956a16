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
OWN = [snippet for snippet in SNIPPETS if "from tasks." in snippet.values[0]]


def place(small_run, folder: Path) -> None:
    """Puts a model and a poster where snippets expect them."""
    (folder / "model").symlink_to(small_run.run.model.path)
    shutil.copy2(small_run.posters[0], folder / "poster.jpg")


@pytest.mark.backbone
@pytest.mark.parametrize("code", [snippet for snippet in SNIPPETS if snippet not in OWN])
def test_snippet_names_genres_without_this_project(small_run, tmp_path: Path, code: str) -> None:
    foreign = "{'tasks', 'flows'}" if "import tensorflow" in code else "{'tasks', 'flows', 'tensorflow'}"
    code += f"\nimport sys\nassert not {foreign} & set(sys.modules)\n"
    place(small_run, tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert any(genre in done.stdout for genre in small_run.run.metrics["vocabulary"])


@pytest.mark.backbone
@pytest.mark.parametrize("code", OWN)
def test_snippet_with_this_project_prints_the_shape_of_the_maps(
    small_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    place(small_run, tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {})
    # Four strides of 2 are before this layer.
    height, width = (side // 16 for side in small_run.settings.features.image_size)
    assert capsys.readouterr().out == f"(1, {height}, {width}, 576)\n"
