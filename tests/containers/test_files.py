"""What the Dockerfiles and compose.yaml name exists: files, commands with their options, variables. Nothing is run."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from container_files import ROOT, read_compose, read_instructions, split_script
from prefect.cli._app import _app as prefect_app

from flows.cli import app
from flows.serving import AUTOMATION, WORK_POOL

DOCKERFILES = ["Dockerfile", "serving/Dockerfile"]
# Of .gitignore: `poster-genres pull --serving serving/genres` makes it.
PULLED = "serving/genres"


def list_commands() -> list[list[str]]:
    """Returns the words of all commands of this project and of Prefect."""
    commands = []
    for file in DOCKERFILES:
        for name, arguments in read_instructions(file):
            if name == "RUN":
                commands += split_script(arguments)
            elif name == "CMD":
                commands.append(json.loads(arguments))
    for service in read_compose()["services"].values():
        command = service.get("command", [])
        commands += split_script(command[-1]) if command[:1] == ["sh"] else [command]
    names = ("poster-genres", "prefect")
    return [[Path(words[0]).name, *words[1:]] for words in commands if words and Path(words[0]).name in names]


def test_commands_of_all_files_are_found() -> None:
    assert len(list_commands()) == 9


@pytest.mark.parametrize("words", list_commands(), ids=shlex.join)
def test_commands_and_options_exist(words: list[str]) -> None:
    program, *arguments = words
    if program == "prefect":
        given = [argument for argument in arguments if argument != "--no-prompt"]  # of all commands
        prefect_app.parse_args(given, exit_on_error=False, print_error=False)
    else:
        command = typer.main.get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
        command.make_context(arguments[0], arguments[1:])


def test_names_are_those_of_serve() -> None:
    text = shlex.join(word for words in list_commands() for word in words)
    assert set(re.findall(r"--pool (\S+)|work-pool create (\S+)", text)) == {(WORK_POOL, ""), ("", WORK_POOL)}
    assert f"automation inspect '{AUTOMATION}'" in text


@pytest.mark.parametrize("file", DOCKERFILES)
def test_copied_files_are_in_the_context(file: str) -> None:
    context = (ROOT / file).parent
    ignore = (context / ".dockerignore").read_text("utf-8") if (context / ".dockerignore").exists() else None
    sources = [
        source
        for name, arguments in read_instructions(file)
        if name == "COPY" and "--from=" not in arguments
        for source in arguments.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (context / source).exists() or (context / source) == ROOT / PULLED
        assert ignore is None or f"\n!{source.partition('/')[0]}\n" in ignore


def test_everything_that_the_wheel_is_built_from_is_copied() -> None:
    copied = {
        word for name, arguments in read_instructions("Dockerfile") if name == "COPY" for word in arguments.split()
    }
    assert {"pyproject.toml", "README.md", "LICENSE", "poster_genres.py", "flows", "tasks"} <= copied


def test_images_have_versions_and_no_user_is_root() -> None:
    images = [service["image"] for service in read_compose()["services"].values()]
    for file in DOCKERFILES:
        instructions = read_instructions(file)
        images += [arguments.split()[0] for name, arguments in instructions if name == "FROM"]
        (user,) = (arguments for name, arguments in instructions if name == "USER")
        assert int(user) > 0
    assert len(images) == 9
    for image in images:
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+[\w.-]*", image), image


def test_secrets_are_variables_that_the_example_names() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    names = set(re.findall(r"^([A-Z_]+)=$", (ROOT / "compose.env").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)", text)) == names
    for service in read_compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|KEY|CONNECTION", name) or "${" in value
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_services_are_healthy_before_others_use_them_and_ports_are_on_loopback() -> None:
    services = read_compose()["services"]
    for name, service in services.items():
        for needed, condition in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed == "deployments" else "service_healthy"
            assert condition == {"condition": expected}, name
            assert needed == "deployments" or "healthcheck" in services[needed]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in read_compose()["volumes"]
