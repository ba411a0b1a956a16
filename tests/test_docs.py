"""README, docs and CONTRIBUTING state only what is true."""

import importlib.util
import itertools
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.cli import app as typer_app
from typer.testing import CliRunner

from flows.cli import app
from flows.configuration import load_settings
from flows.settings_page import list_settings, render_markdown

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "artifacts/README.md")),
    ROOT / "flows" / "project_files" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
]
# The changelog quotes names that are no longer valid; the page of the commands is generated.
CURRENT_PAGES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "commands.md")]
# Files of a model's folder.
MODEL_FILES = {"report.md", "MODEL_CARD.md"}
# Of the output that docs/guides/change.md adds as an example; tests/flows/test_guides.py follows it.
EXAMPLE_FILE, EXAMPLE_SETTING = "tasks/outputs/classic.py", "heads.classic"
# Arguments of Typer's own command, which writes docs/commands.md.
COMMANDS_PAGE = ["flows.cli", "utils", "docs", "--name", "poster-genres", "--title", "Commands"]

_BLOCK = re.compile(r"^```.*\n((?:.*\n)*?)```$", re.MULTILINE)


def read_code(page: Path) -> Iterator[str]:
    """Yields the lines of a page's code blocks, continued lines joined, and its inline code."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    for block in _BLOCK.findall(text):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))


def find_all(pattern: str, pages: list[Path] = CURRENT_PAGES) -> list[Any]:
    """Returns what is found in the code of pages, each with its page, as parameters of a test."""
    found = {
        (page.relative_to(ROOT).as_posix(), match)
        for page in pages
        for code in read_code(page)
        for match in re.findall(pattern, code)
    }
    return sorted(found)


def find_links() -> list[tuple[str, str]]:
    """Returns the relative links of all pages, each with its page, as parameters of a test."""
    texts = {page.relative_to(ROOT).as_posix(): _BLOCK.sub("", page.read_text("utf-8")) for page in PAGES}
    return [(page, link) for page, text in texts.items() for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)]


def list_anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120


def test_settings_page_is_the_generated_one() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert page == render_markdown(), "run: poster-genres settings --markdown > docs/settings.md"


def test_page_of_commands_is_the_generated_one() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    done = CliRunner().invoke(typer_app, COMMANDS_PAGE)
    assert f"{done.stdout.strip()}\n" == page, (
        f"run: .venv/bin/typer {shlex.join(COMMANDS_PAGE)} --output docs/commands.md"
    )


def test_benchmark_table_is_the_measured_one() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    for name in ("results", "latency", "runners"):
        table = (ROOT / "tests" / "benchmarks" / f"{name}.md").read_text("utf-8")
        assert f"<!-- tests/benchmarks/{name}.md -->\n{table}<!-- end -->" in page
    sizes = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "sizes.py"))["render"]()
    assert (ROOT / "tests" / "benchmarks" / "sizes.md").read_text("utf-8") == sizes
    assert f"<!-- tests/benchmarks/sizes.md -->\n{sizes}<!-- end -->" in (ROOT / "docs" / "sizes.md").read_text("utf-8")


def test_figures_of_the_readme_are_those_of_the_pages() -> None:
    _, quality, speed, _ = re.split(r"\n## (?:How good|How fast|Where to read)", README.read_text("utf-8"))
    for section, page in ((quality, "quality.md"), (speed, "benchmarks.md")):
        source = (ROOT / "docs" / page).read_text("utf-8")
        (table,) = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
        figures = re.findall(r"\d[\d,]*\.?\d*(?: ± [\d.]+)?", table)
        assert len(figures) > 5
        assert [figure for figure in figures if figure not in source] == []


@pytest.mark.parametrize(("page", "link"), find_links())
def test_relative_links_resolve(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    assert not anchor or anchor in list_anchors(target)


@pytest.mark.parametrize(
    ("page", "path"), find_all(r"^((?:[\w.]+/)*[\w.]+\.(?:py|lock|md|toml)|(?:tasks|flows|tests)/[\w/.]+)")
)
def test_named_files_exist(page: str, path: str) -> None:
    folders = (ROOT, (ROOT / page).parent, ROOT / "flows", ROOT / "tasks", ROOT / "tasks" / "dataset")
    assert path in MODEL_FILES | {EXAMPLE_FILE} or any((folder / path).exists() for folder in folders)


@pytest.mark.parametrize(("page", "module"), find_all(r"\b((?:tasks|flows)\.[a-z_]+(?:\.[a-z_]+)*)\b"))
def test_named_modules_exist(page: str, module: str) -> None:
    assert importlib.util.find_spec(module)


GROUPS = {setting.name.partition(".")[0] for setting in list_settings() if "." in setting.name}


@pytest.mark.parametrize(
    ("page", "name"), find_all(rf"^((?:{'|'.join(sorted(GROUPS))})\.(?!parquet|json|py|md)[a-z_0-9]+)")
)
def test_named_settings_exist(page: str, name: str) -> None:
    assert name in {EXAMPLE_SETTING, *(setting.name for setting in list_settings())}


@pytest.mark.parametrize(("page", "target"), find_all(r"^make ([\w-]+)"))
def test_named_targets_exist(page: str, target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("page", "line"), find_all(r"^(?:\S*/)?poster-genres ([^-|>].*)$"))
def test_named_commands_exist(page: str, line: str) -> None:
    name, *words = shlex.split(line.partition(" > ")[0], comments=True)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    if hasattr(command, "commands"):  # a group
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known
    assignments = [value for option, value in itertools.pairwise(words) if option == "--set"]
    load_settings(assignments=[value for value in assignments if not value.startswith(f"{EXAMPLE_SETTING}=")])


@pytest.mark.parametrize(("page", "assignment"), find_all(r"--set ([\w.]+=\S+)"))
def test_named_assignments_are_valid(page: str, assignment: str) -> None:
    is_example = assignment == "group.name=value" or assignment.startswith(f"{EXAMPLE_SETTING}=")
    load_settings(assignments=[] if is_example else [assignment])


@pytest.mark.parametrize("package", ["flows", "tasks"])
def test_map_of_the_code_is_complete(package: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\n## The map of the code\n")[1].split("\n## ")[0]
    folders = {f"`{path.parent.name}/`" for path in (ROOT / package).glob("*/__init__.py")}
    modules = {f"`{path.stem}`" for path in (ROOT / package).glob("*.py")} - {"`__init__`", "`similar`"}
    assert {name for name in folders | modules if name not in text} == set()


def test_every_document_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = {name for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for name in block.split()}
    documents = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert documents - {"index"} <= listed


def test_every_target_of_make_is_in_the_table_of_contributing() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    missing = [name for name in phony[1].split() if f"`make {name}" not in table]
    assert missing == []


def test_every_fault_has_its_test() -> None:
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith("| fault |")]
    assert len(faults) > 50
    for row in faults:
        (path, name) = re.fullmatch(r"\| .+ \| .+ \| `(\S+\.py)::(test_\w+)` \|", row).groups()
        assert f"\ndef {name}(" in (ROOT / path).read_text("utf-8"), row
