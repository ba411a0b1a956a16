import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from prefect.settings import PREFECT_API_URL
from small_stores import make_store, write_keys

from flows.cli import main
from tasks.model_folder import ModelFolder
from tasks.registry.models import promote
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "flows.cli"]
LOOPBACK = ("--set", "posters.allow_private_hosts=[127.0.0.1]")  # the sample's server


def call(
    *arguments: object, cwd: Path | None = None, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=300, cwd=cwd, env=env, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--catalog", "none.csv"], "no catalog at none.csv"),
        (["run", "--set", "training.epoch=3"], "did you mean training.epochs?"),
        (["run", "--set", "training.epochs=0"], "bad value for training.epochs"),
        (["run", "--recipe", "finest"], "bad value for training.recipe (the option for training.recipe)"),
        (["run", "--set", "features.taps=[block_99_relu]"], "expected some of these, each once, alone or with :std"),
        (["run", "--min-posters", "0"], "bad value for dataset.min_posters_per_genre"),
        (["run", "--settings", "none.yaml"], "none.yaml can't be read"),
        (["compare", "--catalog", "none.csv"], "no catalog at none.csv"),
        (["compare", "--catalog", "s3://bucket/films.csv", "--recipe", "finest"], "no recipe 'finest'"),
        (["compare", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["predict", "champion", "poster.jpg"], "there is no champion in artifacts"),
        (["predict", "none", "poster.jpg"], "no model 'none'"),
        (["run", "--min-posters", "many"], "Invalid value for '--min-posters': Input should be a valid integer"),
        (["run", "--epochs", "3"], "No such option: --epochs"),
        (["predict", "champion"], "Missing argument 'IMAGE...'"),
        (["train"], "No such command 'train'"),
        ([], "Missing command"),
        (["pull", "--to", "here", "--from", "nonsense://x"], "nonsense://x is not a supported store"),
        (["pull", "--to", "here", "--from", "nowhere"], "expected a store with models/"),
        (["pull"], "expected one of --to and --serving"),
        (["promote", "none"], "no model 'none'"),
        (["promote", "../models/m2"], "'../models/m2' is not the id of a model"),
        (["rollback"], "there is no champion in artifacts"),
        (["push", "--to", "there"], "there is no champion in artifacts"),
        (["label", "posters", "--to", "there"], "there is no champion in artifacts"),
        (
            ["label", "posters", "--to", "there", "--set", "runner={kind: processes, workers: 2}"],
            "there is no champion in artifacts",
        ),
        (["run", "--set", "runner.workers=2"], "threads have one for each core: expected runner.workers=null"),
        (["label", "posters", "--to", "there", "--set", "seed=3"], "expected a setting of posters or runner"),
        (["serve", "--port", "0"], "Invalid value for '--port'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.startswith("poster-genres: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_comparing_a_recipe_that_is_none_is_a_mistake_too(tmp_path: Path) -> None:
    (tmp_path / "MovieGenre.csv").touch()
    done = call("compare", "--recipe", "seed", "--recipe", "finest", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == "poster-genres: no recipe 'finest': expected one of default, fast, best, seed, seed_bce (--recipe)\n"
    )


def test_flow_as_a_module_has_the_same_options_and_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.train", "--catalog", "none.csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no catalog at none.csv" in done.stderr


def test_mistake_found_during_a_run_ends_in_one_line_without_a_traceback(prefect_server: None, tmp_path: Path) -> None:
    make_site(tmp_path / "site", 60)
    with serve(tmp_path / "site") as base_url:
        catalog = write_catalog(tmp_path / "site", base_url)
        url = str(PREFECT_API_URL.value())
        done = call("run", "--catalog", catalog, *LOOPBACK, cwd=tmp_path, PREFECT_API_URL=url)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("poster-genres: ")]
    assert len(lines) == 1
    assert re.search(r"0 genres have 1,000 posters or more.*try --min-posters \d+$", lines[0])
    # Of the log, this project's own lines; and all of it in data_dir.
    assert re.match(r"\d\d:\d\d:\d\d catalog: \d+ rows = 60 films", done.stderr)
    states = ("flow run", "Task run", "Finished in state", "Encountered exception", "server")
    assert [state for state in states if state in done.stderr] == []
    (log,) = (tmp_path / "data" / "logs").glob("*.jsonl")
    messages = [json.loads(line)["message"] for line in log.read_text("utf-8").splitlines()]
    assert "Finished in state Completed()" in messages
    assert any(message.startswith("Task run failed with exception: DatasetError") for message in messages)


def test_modules_in_the_working_directory_are_not_imported(tmp_path: Path, make_prefect_home) -> None:
    """Not by the command, its workers or its temporary server: names of this project, of packages and of Python's."""
    make_site(tmp_path / "site", 60)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "poster-genres"  # as pip writes it
    script.write_text("from flows.__main__ import main\nmain()\n")
    folder = tmp_path / "working directory"
    folder.mkdir()
    for name in ("tasks", "flows", "data", "json", "queue", "logging", "uvicorn", "prefect", "aiohttp"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment |= {"PREFECT_HOME": str(make_prefect_home(tmp_path / "home")), "PYTHONPATH": str(ROOT)}
    with serve(tmp_path / "site") as base_url:
        command = [sys.executable, script, "run", "--catalog", write_catalog(tmp_path / "site", base_url), *LOOPBACK]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert "the wrong module" not in done.stdout + done.stderr
    assert "poster-genres: 0 genres have 1,000 posters" in done.stderr


def test_help_and_no_models_need_no_tensorflow(tmp_path: Path) -> None:
    script = (
        "import sys, flows.cli\n"
        "sys.argv = ['poster-genres', 'models']\n"
        "try: flows.cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print({'tensorflow', 'keras', 'prefect'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "no models in artifacts yet" in done.stdout
    assert done.stdout.endswith("set()\n")
    assert "demo" in call("--help").stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("poster-genres pre", ["predict"]),
        ("poster-genres run --recipe se", ["seed", "seed_bce"]),
        ("poster-genres predict --artifacts there ", ["champion", "m2", "m1"]),
        ("poster-genres predict m1", ["m1"]),
    ],
)
def test_a_shell_completes_commands_recipes_and_models(tmp_path: Path, words: str, completed: list[str]) -> None:
    for folder, models in (("artifacts", ["m1"]), ("there", ["m1", "m2"])):
        for model in models:
            (tmp_path / folder / "models" / model).mkdir(parents=True)
            (tmp_path / folder / "models" / model / "manifest.json").write_text("{}")
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = call(cwd=tmp_path, _POSTER_GENRES_COMPLETE="complete_bash", PYTHONPATH=str(ROOT), **environment)
    assert (done.stdout.split(), done.stderr) == (completed, "")


@pytest.mark.backbone
def test_predict_answers_what_it_can_and_says_what_it_can_not(small_run, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(small_run.posters[0].read_bytes()[:500])
    (tmp_path / "folder").mkdir()
    for poster in small_run.posters[:2]:
        (tmp_path / "folder" / poster.name).write_bytes(poster.read_bytes())
    with serve(small_run.data_dir / "site") as base_url:
        done = call(
            "predict",
            small_run.run.model.path,
            tmp_path / "folder",
            tmp_path / "broken.jpg",
            f"{base_url}/posters/{small_run.posters[0].name}",
            f"{base_url}/posters/none.jpg",
            *LOOPBACK,
            "--json",
        )
    assert done.returncode == 1
    first, second, broken, address, missing = json.loads(done.stdout)
    assert first["labels"] == address["labels"]
    assert first["image"] == str(tmp_path / "folder" / small_run.posters[0].name)
    assert len(second["labels"]) == len(second["confidences"]) == len(second["calibrated"]) >= 1
    assert broken == {"image": str(tmp_path / "broken.jpg"), "error": "broken image"}
    assert missing["error"] == "http 404"


@pytest.mark.backbone
def test_predict_prints_a_table(small_run) -> None:
    done = call("predict", "champion", small_run.posters[0], "--artifacts", small_run.artifacts_dir)
    assert done.returncode == 0
    assert re.search(r"(Action|Animation|Comedy|Drama|Horror|Romance|Sci-Fi) .*\d%", done.stdout)


@pytest.mark.backbone
def test_predictions_are_written_in_place_of_the_table(small_run, tmp_path: Path) -> None:
    folder = tmp_path / "posters"
    for name in ("a/1.jpg", "b/1.jpg", "c.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(small_run.posters[0], folder / name)
    done = call(
        *("predict", small_run.run.model.path, f"{folder}/*/*.jpg", "-", "--csv", tmp_path / "p.csv"),
        *("--parquet", tmp_path / "p.parquet", "--annotate", tmp_path / "annotated"),
        stdin=f"{folder / 'c.txt'}\n",
    )
    assert (done.returncode, done.stdout) == (0, "")
    images = [str(folder / name) for name in ("a/1.jpg", "b/1.jpg", "c.txt")]
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["image"] for row in rows] == images
    assert rows[0]["labels"] == rows[1]["labels"]
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["image"], row["labels"].split("|")) for row in csv.DictReader(file)] == [
            (row["image"], row["labels"]) for row in rows
        ]
    assert sorted(path.name for path in (tmp_path / "annotated").iterdir()) == ["1-2.png", "1.png", "c.png"]


@pytest.mark.backbone
def test_heat_maps_are_drawn_beside_annotated_posters(small_run, tmp_path: Path) -> None:
    arguments = ("predict", small_run.run.model.path, small_run.posters[0], "--explain")
    done = call(*arguments, "--annotate", tmp_path / "annotated")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "annotated" / f"{small_run.posters[0].stem}.png") as picture:
        assert picture.width in (2 * 360, 3 * 360, 4 * 360)  # the poster, and a map of each of up to three genres
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "poster-genres: Invalid value: --explain draws beside the posters of --annotate: expected a folder for them, "
        "too. See poster-genres --help\n"
    )


@pytest.mark.backbone
def test_models_and_pull(small_run, tmp_path: Path) -> None:
    listed = call("models", "--artifacts", small_run.artifacts_dir).stdout
    assert small_run.run.model.id in listed
    done = call("pull", small_run.run.model.id, "--to", tmp_path / "model", "--from", small_run.artifacts_dir)
    assert done.returncode == 0, done.stderr
    assert ModelFolder(tmp_path / "model").verify()["id"] == small_run.run.model.id


@pytest.mark.backbone
def test_saved_model_cli(small_run, tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "poster.npy", np.array([small_run.posters[0].read_bytes()]))
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("saved_model_cli")), "run"),
            *("--dir", str(small_run.run.model.path / "saved_model")),
            *("--tag_set", "serve", "--signature_def", "serving_default"),
            *("--inputs", f"image_bytes={tmp_path / 'poster.npy'}"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert any(f"b'{genre}'" in done.stdout for genre in small_run.run.metrics["vocabulary"])


@pytest.mark.backbone
def test_promote_and_roll_back(small_run, tmp_path: Path) -> None:
    store = tmp_path / "artifacts"
    shutil.copytree(small_run.artifacts_dir, store)
    first = small_run.run.model.id
    (store / "models" / first).rename(store / "models" / "older")
    older = ModelFolder(store / "models" / "older")
    older.write_manifest({**older.read_manifest(), "id": "older"})
    shutil.copytree(small_run.run.model.path, store / "models" / first)
    assert call("promote", "older", "--artifacts", store).stdout == f"older is now the champion of {store}\n"
    assert "older" in next(line for line in call("models", "--artifacts", store).stdout.splitlines() if "yes" in line)
    assert call("rollback", "--artifacts", store).stdout == f"{first} is the champion of {store} again\n"
    assert call("push", "--to", tmp_path / "there", "--artifacts", store).stdout.startswith("pushed the champion")
    assert "has the champion already" in call("push", "--to", tmp_path / "there", "--artifacts", store).stdout


def test_pulling_every_week(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return ended.value.code or 0, f"{printed.out}{printed.err}".replace("\n", "|")

    store, target, folder, serving = (tmp_path / name for name in ("store", "target", "model", "serving"))
    make_store(store)
    private, public = write_keys(tmp_path / "keys")
    pushed = f"pushed the champion to {target}|"
    assert run("push", "--to", target, "--artifacts", store, "--sign-with", private) == (0, pushed)
    pull = ("pull", "--from", target, "--key", public, "--to", folder)
    assert run(*pull) == (0, f"pulled two to {folder}: 2 files, every hash as in its manifest|")
    assert run(*pull) == (0, f"current: {folder} is two|")
    serve = ("pull", "--from", store, "--serving", serving, "--keep", 1)
    assert run(*serve) == (0, f"pulled two to {serving}/1|")
    assert run(*serve) == (0, f"current: {serving}/1 is two|")
    assert run(*serve, "one") == (0, f"pulled one to {serving}/2, removed 1|")
    code, line = run("pull", "--from", store, "--key", public, "--to", folder)
    assert (code, line.count("|")) == (2, 1)
    assert "models/two: it has no signature" in line
    make_store(tmp_path / "other")
    promote(tmp_path / "other", "one", "by hand")
    (target / "champion.json").write_text('{"id": "three"}')
    code, line = run("push", "--to", target, "--artifacts", tmp_path / "other")
    assert (code, line.count("|")) == (2, 1)
    assert line.startswith("poster-genres: not pushed: one was not compared with three, the champion of")
    assert run("push", "--to", target, "--artifacts", tmp_path / "other", "--unjudged") == (0, pushed)
    assert run("rollback", "--store", store) == (0, f"one is the champion of {store} again|")


@pytest.mark.parametrize("option", ["--store", "--artifacts"])
def test_lists_of_models_leave_out_what_can_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, option: str
) -> None:
    store = make_store(tmp_path / "store")
    (store / "models" / "two" / "manifest.json").write_text("")
    with pytest.raises(SystemExit):
        main(["models", option, str(store)])
    *table, line = capsys.readouterr().out.splitlines()
    assert [row.split("│")[1:3] for row in table if row.startswith("│")] == [[" one ", "          "]]
    assert line == "the champion, two, is not among them: promote another, or pull it again"
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "two/manifest.json is not a manifest of a model" in warning


def test_serve_says_what_is_in_the_way() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = call("serve", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "something listens on port" in done.stderr
