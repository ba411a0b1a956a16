"""Every error that a user can correct says what was expected, or what to do."""

import ast
import errno
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.errors import PosterGenresError, describe_os_error

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted(path for package in ("flows", "tasks") for path in (ROOT / package).rglob("*.py"))

# Verbs that begin an instruction.
_VERBS = (
    "check|choose|continue|copy|delete|fetch|free|give|install|leave out|lower|make|move|name|promote|publish|pull|push"
    "|raise|remove|restore|run|see|set|start|stop|try|use|wait|write"
)
# What was expected; a suggestion; a command; or an instruction, which begins the message or one of its clauses.
SAYS_WHAT_TO_DO = re.compile(
    rf"\bexpected\b|\bdid you mean\b|\bposter-genres [a-z]+|(?:^|[:;.,(] ?|[;,] or )(?:{_VERBS})\b", re.IGNORECASE
)

# Messages without it, and the reason.
EXCEPTIONS = {
    "{}{}": "flows.reproduce passes on the message of another error, which is listed itself, or of the disk",
    "catalog.corrections: {}": "passes on a message of the catalog's reader, which is listed itself",
}


@dataclass(frozen=True)
class Message:
    """The text of an error where it is made: `{}` for what is filled in, after it the texts that this may have."""

    place: str
    text: str


class _Module:
    """A module's syntax tree, with the values of its names: all that are assigned to each, in any scope."""

    def __init__(self, path: Path, classes: set[str]) -> None:
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self._tree = ast.parse(path.read_text("utf-8"))
        self._classes = set(classes)
        self._values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._add(target, node.value)
            elif isinstance(node, ast.FunctionDef):
                returned = [found.value for found in ast.walk(node) if isinstance(found, ast.Return) and found.value]
                self._values.setdefault(node.name, []).extend(returned)
                if isinstance(node.returns, ast.Name) and node.returns.id in classes:
                    self._classes.add(node.name)  # it makes an error of the message that it is given

    def _add(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._values.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Tuple):
            for element in target.elts:
                self._add(element, value)

    def list_messages(self) -> Iterator[Message]:
        for function in ast.walk(self._tree):
            if not isinstance(function, ast.FunctionDef) or function.name in self._classes:
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and (name := _name(node.func)) in self._classes:
                    # Of a function that makes the error, its own words as well.
                    parts = [*node.args, *self._values.get(name, [])]
                    texts = [text for part in parts for text in self._list_texts(part, depth=2)]
                    yield Message(f"{self.name}.{function.name}", " ".join(texts))

    def _list_texts(self, node: ast.expr, depth: int) -> list[str]:
        """Returns the literal texts of an expression, then those of the names in it."""
        texts, names = [""], []
        for part in _in_order(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                texts[0] += part.value
            elif isinstance(part, ast.Name | ast.Attribute):
                names.append(_name(part))
                texts[0] += "{}"
        if depth:
            for name in dict.fromkeys(names):
                for value in self._values.get(name, []):
                    texts += self._list_texts(value, depth - 1)
        return texts


def _name(node: ast.expr) -> str:
    """Returns the last part of a dotted name; empty if it is none."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)


def list_error_classes() -> set[str]:
    for path in PATHS:
        if re.search(r"^class \w+\(.*Error\b", path.read_text("utf-8"), re.MULTILINE):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))

    def list_with_subclasses(kind: type) -> Iterator[str]:
        yield kind.__name__
        for subclass in kind.__subclasses__():
            yield from list_with_subclasses(subclass)

    return set(list_with_subclasses(PosterGenresError))


def list_messages() -> list[Message]:
    classes = list_error_classes()
    return list(dict.fromkeys(message for path in PATHS for message in _Module(path, classes).list_messages()))


MESSAGES = list_messages()


def test_messages_are_found() -> None:
    assert len(MESSAGES) > 110
    assert {"flows.serving", "flows.time_limit", "tasks.registry.pulling", "flows.configuration"} <= {
        message.place.rpartition(".")[0] for message in MESSAGES
    }


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{message.place}: {message.text[:60]}")
def test_every_error_says_what_to_do(message: Message) -> None:
    is_exception = message.text in EXCEPTIONS
    assert bool(SAYS_WHAT_TO_DO.search(message.text)) != is_exception, message.text


def test_exceptions_are_still_there() -> None:
    for words, reason in EXCEPTIONS.items():
        assert reason
        assert any(message.text == words for message in MESSAGES), words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{} has zero bytes: expected a CSV", True),
        ("unknown genre {}: did you mean {}?", True),
        ("{} is damaged: remove it and run it again", True),
        ("{} is damaged. Pull the model again", True),
        ("there is no champion (poster-genres promote makes one)", True),
        ("there is no champion; or run it again", True),
        ("{} is damaged", False),
        ("the run of {} was in use, and the server did not start", False),
        ("nothing to set or to remove", False),
        ("an unexpected answer", False),
    ],
)
def test_what_counts_as_an_instruction(text: str, says: bool) -> None:
    assert bool(SAYS_WHAT_TO_DO.search(text)) == says


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO, errno.ENOTDIR])
def test_errors_of_the_disk_say_what_to_do(number: int) -> None:
    message = describe_os_error(OSError(number, "words of a library", "some/file"))
    assert message.startswith("some/file: ")
    assert SAYS_WHAT_TO_DO.search(message)
