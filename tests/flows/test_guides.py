"""The tutorial and the guides, followed to the letter: what they say to enter, to write and to change."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from served_app import serve_app

from flows.configuration import load_settings
from tasks.catalog.corrections import read_corrections
from tasks.serving.app import create_app
from tasks.serving.servable import Servable

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "guides"
PAGES = [ROOT / "docs" / "tutorial.md", *sorted(GUIDES.glob("*.md"))]

# Commands that are not run here, since they take long, need a server, or change what other tests look at. Each begins
# with one of these, and has the test of what it does, with other folders or fewer films. Of all commands
# tests/test_docs.py looks up names and options.
ELSEWHERE = {
    "make demo": "tests/flows/test_train.py::test_the_model_is_better_than_the_baselines",
    "make setup": "tests/test_docs.py::test_named_targets_exist",
    "git pull": None,
    "export ": "tests/flows/test_deployments.py::test_deployments_are_there_as_described",
    ".venv/bin/poster-genres serve": "tests/flows/test_deployments.py::test_deployments_are_there_as_described",
    ".venv/bin/prefect deployment run demo/demo": (
        "tests/flows/test_deployments.py::test_a_watched_run_makes_a_model_and_the_next_is_up_to_date"
    ),
    '.venv/bin/prefect deployment run train/weekly -p \'overrides={"runner"': (
        "tests/flows/test_deployments.py::test_the_runner_is_chosen_by_a_runs_parameters"
    ),
    ".venv/bin/prefect deployment run train/weekly": (
        "tests/flows/test_deployments.py::test_a_run_that_hangs_is_ended_and_the_next_one_starts"
    ),
    ".venv/bin/prefect deployment schedule ls": (
        "tests/flows/test_deployments.py::test_deployments_are_there_as_described"
    ),
    "pip install 'poster-genres[": None,
    ".venv/bin/poster-genres run --set store=": (
        "tests/cluster/test_store.py::test_from_nothing_to_a_champion_with_everything_in_the_store"
    ),
    ".venv/bin/poster-genres run --set 'runner=": (
        "tests/flows/test_spreading.py::test_a_dask_cluster_keeps_to_the_limits_by_host"
    ),
    ".venv/bin/poster-genres label": "tests/flows/test_labelling.py::test_processes_predict_what_threads_do",
    ".venv/bin/poster-genres run": "tests/flows/test_train.py::test_new_films_touch_only_their_own",
    ".venv/bin/poster-genres compare": "tests/flows/test_compare.py::test_recipes_over_seeds",
    ".venv/bin/poster-genres promote": "tests/flows/test_cli.py::test_promote_and_roll_back",
    ".venv/bin/poster-genres rollback": "tests/flows/test_cli.py::test_promote_and_roll_back",
    ".venv/bin/poster-genres push": "tests/flows/test_cli.py::test_promote_and_roll_back",
    ".venv/bin/poster-genres prune": "tests/flows/test_pruning.py::test_only_what_is_listed_is_removed",
    ".venv/bin/poster-genres doctor": (
        "tests/flows/test_damaged_files.py::test_the_doctor_finds_and_mends_what_is_damaged"
    ),
    ".venv/bin/poster-genres settings --markdown": "tests/test_docs.py::test_settings_page_is_the_generated_one",
}

# Run beside the changed code: the new output is learned, found in a model, decoded and a setting.
CHECK = """
import numpy as np, pandas as pd, pathlib, tasks.settings
from tasks.features.matrix import FeatureMatrix, FeatureViews
from tasks.outputs.classic import ClassicOutput
from tasks.outputs.output import find_output_classes
from tasks.settings import HeadSettings, TrainingSettings
from tasks.training.examples import Examples, TrainingData
from tasks.training.fitting import fit_head
from tasks.training.head import predict

assert pathlib.Path(tasks.settings.__file__).is_relative_to(pathlib.Path.cwd())

def make(num_films, seed):
    features = np.random.default_rng(seed).normal(size=(num_films, 4))
    path = pathlib.Path(f"features-{seed}.npy")
    np.save(path, features.astype(np.float16))
    # The first feature tells a film from before 1970; every tenth film has no year.
    years = np.where(features[:, 0] > 0, 1969, 1970) * (np.arange(num_films) % 10 > 0)
    films = pd.DataFrame({"year": years, "score": np.zeros(num_films, np.float32)})
    return Examples(films, FeatureViews([FeatureMatrix(path)]), (features[:, 1:3] > 0).astype(np.uint8))

train, validation = make(600, 0), make(200, 1)
settings = TrainingSettings(recipe="fast", hidden_units=16, epochs=25, batch_size=64, learning_rate=1e-2, dropout=0.0)
fitted = fit_head(TrainingData(train, validation, ["a", "b"]), settings, seed=0, heads=HeadSettings(classic=0.5))
columns = predict(fitted.head, validation.features)["classic"]
years = validation.films["year"].to_numpy()
accuracy = np.mean((columns[:, 0] > 0.5)[years > 0] == (years[years > 0] < 1970))
assert accuracy > 0.9, accuracy
assert abs(fitted.history["val_classic_accuracy"].iloc[-1] - accuracy) < 1e-4
found = [kind.name for kind in find_output_classes() if kind.from_column_names(["a", "classic"])]
assert found == ["genres", "classic"], found
assert ClassicOutput().decode(columns[:1]) == [{"classic": float(columns[0, 0])}]
(output, served) = ClassicOutput.from_served({"classic": columns[:, 0]})
assert output.compare_served({"classic": served[:, 0].tolist()}, columns) == 0
"""


def find_blocks(page: Path, language: str) -> list[str]:
    """Returns the code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def apply(diff: str, path: Path) -> None:
    """Changes a file as a diff without line numbers says."""
    before, after = (
        "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in kept) for kept in (" -", " +")
    )
    text = path.read_text("utf-8")
    assert text.count(before) == 1, f"not once in {path}:\n{before}"
    path.write_text(text.replace(before, after), "utf-8")


def find_commands(page: Path) -> list[str]:
    """Returns the command lines of a page, continued ones as one, without comments."""
    lines = "".join(find_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].rstrip() for line in lines]


def find_elsewhere(command: str) -> str | None:
    """Returns which of the commands that are run elsewhere it is; None if it is run here."""
    return next((start for start in ELSEWHERE if command.startswith(start)), None)


@pytest.fixture(scope="module")
def project(small_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone as `make demo` leaves it, with the small run's model; it is the champion of `artifacts`, too."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("data", "artifacts"):
        (folder / name).mkdir()
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / "data" / "sample").symlink_to(small_run.data_dir)
    (folder / "artifacts" / "sample").symlink_to(small_run.artifacts_dir)
    for name in ("models", "champion.json"):
        (folder / "artifacts" / name).symlink_to(small_run.artifacts_dir / name)
    shutil.copy2(small_run.posters[1], folder / "poster.jpg")
    return folder


@pytest.mark.backbone
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run(project: Path, page: Path) -> None:
    commands = [command for command in find_commands(page) if not find_elsewhere(command)]
    environment = {**os.environ, "COLUMNS": "100"}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_commands_that_are_run_elsewhere_are_named_and_their_tests_exist() -> None:
    named = {find_elsewhere(command) for page in PAGES for command in find_commands(page)} - {None}
    assert named == set(ELSEWHERE)
    for test in filter(None, ELSEWHERE.values()):
        path, _, name = test.partition("::")
        assert f"\ndef {name}(" in (ROOT / path).read_text("utf-8"), test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_and_corrections_are_valid(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(find_blocks(page, "yaml")):
        content = yaml.safe_load(text)
        if "schedules" in content:  # of a deployment, in prefect.yaml
            deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
            assert content["schedules"][0].keys() == deployments[0]["schedules"][0].keys()
            assert set(content) == {"schedules"}
            continue
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(content), "utf-8")
        load_settings(path)
    for text in find_blocks(page, "csv"):
        path = tmp_path / "corrections.csv"
        path.write_text(text, "utf-8")
        assert len(read_corrections(str(path), (), 1000).genres) == 2


def run_code(code: str, folder: Path) -> str:
    """Runs code as a program of its own, without this project; returns what it prints."""
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.backbone
def test_served_predictions(small_run, tmp_path: Path) -> None:
    """In a program of its own, and over HTTP: the same genres."""
    (tmp_path / "model").symlink_to(small_run.run.model.path)
    shutil.copy2(small_run.posters[1], tmp_path / "poster.jpg")
    in_program, over_http = find_blocks(GUIDES / "serve.md", "python")
    named = ast.literal_eval(run_code(in_program, tmp_path))
    assert named
    with serve_app(create_app(Servable(small_run.run.model.saved_model_path), "genres")) as address:
        file, served = run_code(over_http.replace("127.0.0.1:8501", address), tmp_path).split(maxsplit=1)
    assert (file, set(ast.literal_eval(served))) == ("poster.jpg", set(named))


EXPLANATION = [
    pytest.param(code, id=str(number))
    for number, code in enumerate(find_blocks(ROOT / "docs" / "explanation.md", "python"), 1)
]


@pytest.mark.parametrize("code", EXPLANATION)
def test_explained_code_prints_what_is_beside_it(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "explanation", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.+)$", code, re.MULTILINE)


def test_another_output_takes_two_files(tmp_path: Path) -> None:
    for package in ("tasks", "flows"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    guide = GUIDES / "change.md"
    diffs, (code,) = find_blocks(guide, "diff"), find_blocks(guide, "python")
    assert len(diffs) == 2
    for diff in diffs:
        apply(diff, tmp_path / "tasks" / "settings.py")
    (tmp_path / "tasks" / "outputs" / "classic.py").write_text(code, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
