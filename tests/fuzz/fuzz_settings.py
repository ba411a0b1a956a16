"""Read random settings and descriptions for a while: `python tests/fuzz/fuzz_settings.py --seconds 300 --seed 0`.

Settings files (YAML, TOML), `--set` assignments, manifests of models, descriptions of data sets, and the two files that
describe poster parts: documents of the right shape with odd values in them, documents with damaged bytes, and random
bytes. Each must be read as what its docstring says, or refused with the error that it names. Hypothesis makes and
shrinks the examples, in rounds, each with a seed of its own; a failure is reported once, and its kind (exception and
place) passed over afterwards. Prints counts, and exits with 1 if there were failures.
"""

import argparse
import contextlib
import itertools
import json
import logging
import math
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from flows.configuration import load_settings
from tasks.dataset.description import read_description
from tasks.errors import PosterGenresError, RegistryError, SettingsError
from tasks.model_folder import parse_manifest
from tasks.posters.segments import LEDGER, Part, Segment, read_num_parts
from tasks.settings import Settings

EXAMPLES_PER_ROUND = 500
# Of one example. All are some kilobytes; one that takes longer would take for ever.
MAX_SECONDS = 10

Target = Callable[[Path, bytes], PosterGenresError | None]


class TooLongError(Exception):
    """An example was not read in time; not a `TimeoutError`, which is an `OSError` and might be caught."""


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raises `TooLongError` after `MAX_SECONDS`."""

    def stop(*_: Any) -> None:
        raise TooLongError(f"not read in {MAX_SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# ---- Examples

_GROUPS = Settings().model_dump(mode="json")
_NAMES = [
    *_GROUPS,
    *(f"{group}.{name}" for group, fields in _GROUPS.items() if isinstance(fields, dict) for name in fields),
]
_KEYS = ["id", "files", "sha256", "num_bytes", "segments", "name", "num_rows", "num_parts", "version", "shards", "gate"]
_TEXTS = ["", "..", "../a", "/a", "a/../b", "a.parquet", "1e-5", "1e999", "nan", "null", "~", "on", "12:30", "0x_", "="]
_TEXTS += [
    "<<",
    "*a",
    "&a [*a]",
    "!!int x",
    "!!python/object:os.system x",
    "!!binary =",
    "2001-02-30",
    "9" * 5000,
    "é\0",
]
_TEXTS += ["[" * 3000, "{a: " * 1500, "?", "- ", "'", '"""', "\ufeff", "\u2028", "\ud800", "part-00000-of-00001.json"]
_NUMBERS = [0, 1, -1, 2, 3, 7, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, math.inf, -math.inf, math.nan]

_scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(_TEXTS),
    st.sampled_from(_NUMBERS),
    st.sampled_from([date(2001, 1, 1), datetime(2001, 1, 1, tzinfo=UTC)]),
)
_keys = st.one_of(
    st.sampled_from([*_NAMES, *_KEYS, *(name.rpartition(".")[2] for name in _NAMES)]), st.text(max_size=6)
)
_values = st.recursive(
    _scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_keys, inner, max_size=4))
)
# In YAML, a key may be anything that has a hash.
_odd_keys = st.dictionaries(st.one_of(_keys, _scalars.filter(lambda key: key == key)), _values, max_size=4)

_SHA = "0" * 64
_MODEL = {"id": "m", "features": "f", "files": {"a/b": {"sha256": _SHA, "num_bytes": 1}}, "gate": {"reasons": ""}}
_DATASET = {"version": 5, "seed": 0, "settings": {}, "vocabulary": ["a"], "shards": {"train": {"made_of": _SHA}}}
_PART = {"segments": [{"name": "part-00000-of-00001-0.parquet", "sha256": _SHA, "num_bytes": 1, "num_rows": 1}]}
_PARTS = {"version": 2, "num_parts": 1}


def list_places(document: Any) -> Iterator[tuple[Any, ...]]:
    """Yields the path of each value of a document, the document's own, which is empty, too."""
    yield ()
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from ((key, *rest) for rest in list_places(value))


def replace(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Returns a copy of a document with another value in one place; `...` removes it."""
    if not place:
        return value
    copied = document.copy()
    if len(place) == 1 and value is ...:
        copied.pop(place[0])
    else:
        copied[place[0]] = replace(document[place[0]], place[1:], value)
    return copied


@st.composite
def documents(draw: st.DrawFn, example: Any) -> Any:
    """Documents like an example with up to three other values, or of any shape."""
    if draw(st.integers(0, 5)) == 0:
        return draw(_odd_keys)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(list_places(example))))
        example = replace(example, place, draw(st.one_of(_values, st.just(...) if place else _values)))
    return example


def write_toml(value: Any) -> str:
    """Returns a value as TOML, which has no null; nothing is escaped, so that some results are not TOML."""
    if isinstance(value, dict):
        fields = [f'"{key}" = {write_toml(one)}' for key, one in value.items() if one is not None]
        return "{" + ", ".join(fields) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_toml, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower()


def write_document(document: Any, kind: str) -> bytes:
    """Returns a document as `json`, `yaml` or `toml`."""
    if kind == "json":
        text = json.dumps(document, default=str, skipkeys=True, ensure_ascii=False)
    elif kind == "yaml":
        text = yaml.safe_dump(document, allow_unicode=True)
    elif isinstance(document, dict):
        text = "\n".join(f"{key} = {write_toml(value)}" for key, value in document.items() if value is not None)
    else:
        text = write_toml(document)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def files(draw: st.DrawFn, example: Any, kind: str) -> bytes:
    """Files of one kind: documents, documents with damaged bytes, and random bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.one_of(
                st.binary(max_size=40), st.sampled_from(_TEXTS).map(lambda text: text.encode("utf-8", "surrogatepass"))
            )
        )
    content = bytearray(write_document(draw(documents(example)), kind))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        position = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 2, len(content)]))
        odd = st.one_of(
            st.binary(max_size=4),
            st.sampled_from([*_TEXTS, ":", ",", "{", "]", "\n", "\t"]).map(
                lambda text: text.encode("utf-8", "surrogatepass")
            ),
        )
        content[position : position + length] = draw(odd)
    return bytes(content)


@st.composite
def assignments(draw: st.DrawFn) -> bytes:
    """Assignments as `--set` takes them: bytes of the command line."""
    name = draw(st.one_of(st.sampled_from(_NAMES), _keys))
    equals = draw(st.sampled_from(["=", "=", "=", "=", "", " = ", "==", ".=", ".x="]))
    value = draw(
        st.one_of(
            _scalars.map(str), _values.map(lambda one: yaml.safe_dump(one, allow_unicode=True)), st.text(max_size=12)
        )
    )
    return f"{name}{equals}{value}".encode("utf-8", "surrogatepass")


# ---- What is read, and what must come of it


def check_settings_file(path: Path) -> SettingsError | None:
    try:
        found = load_settings(path)
    except SettingsError as error:
        return error
    assert isinstance(found, Settings), found
    return None


def check_yaml(folder: Path, content: bytes) -> SettingsError | None:
    (folder / "settings.yaml").write_bytes(content)
    return check_settings_file(folder / "settings.yaml")


def check_toml(folder: Path, content: bytes) -> SettingsError | None:
    (folder / "settings.toml").write_bytes(content)
    return check_settings_file(folder / "settings.toml")


def check_assignment(_: Path, content: bytes) -> SettingsError | None:
    try:
        found = load_settings(assignments=[content.decode("utf-8", "surrogateescape")])
    except SettingsError as error:
        return error
    assert isinstance(found, Settings), found
    return None


def check_manifest(_: Path, content: bytes) -> RegistryError | None:
    try:
        manifest = parse_manifest(content, "manifest.json")
    except RegistryError as error:
        return error
    for name, about in manifest["files"].items():
        assert not PurePosixPath(name).is_absolute(), name
        assert ".." not in PurePosixPath(name).parts, name
        assert isinstance(about, dict), about
        assert isinstance(about["sha256"], str), about
        assert isinstance(about["num_bytes"], int), about
    return None


def check_dataset(folder: Path, content: bytes) -> None:
    (folder / "dataset.json").write_bytes(content)
    description = read_description(folder)
    assert isinstance(description, dict), description


def check_part(folder: Path, content: bytes) -> None:
    part = Part(folder / "posters", 0, 1)
    (part.folder / f"{part.name}.json").write_bytes(content)
    for segment in part.segments():
        assert isinstance(segment, Segment), segment
        types = [type(value) for value in (segment.name, segment.sha256, segment.num_bytes, segment.num_rows)]
        assert types == [str, str, int, int], segment
        assert segment.name == Path(segment.name).name, segment


def check_num_parts(folder: Path, content: bytes) -> None:
    posters = folder / "posters"
    (posters / f"{Part(posters, 0, 1).name}.json").write_text(json.dumps(_PART))
    (posters / "ledger.json").write_bytes(content)
    num_parts = read_num_parts(posters)
    assert num_parts is None or (type(num_parts) is int and num_parts.bit_count() == 1 and num_parts > 0), num_parts


# Of each target that reads documents: one that is read as it is, and how it is written.
EXAMPLES: dict[str, tuple[Any, str]] = {
    "settings.yaml": (_GROUPS, "yaml"),
    "settings.toml": (_GROUPS, "toml"),
    "manifest.json": (_MODEL, "json"),
    "dataset.json": (_DATASET, "json"),
    "part-*.json": (_PART, "json"),
    "ledger.json": (_PARTS, "json"),
}
TARGETS: dict[str, tuple[Target, st.SearchStrategy[bytes]]] = {
    "settings.yaml": (check_yaml, files(*EXAMPLES["settings.yaml"])),
    "settings.toml": (check_toml, files(*EXAMPLES["settings.toml"])),
    "--set": (check_assignment, assignments()),
    "manifest.json": (check_manifest, files(*EXAMPLES["manifest.json"])),
    "dataset.json": (check_dataset, files(*EXAMPLES["dataset.json"])),
    "part-*.json": (check_part, files(*EXAMPLES["part-*.json"])),
    "ledger.json": (check_num_parts, files(*EXAMPLES["ledger.json"])),
}


_PROFILE = settings(
    max_examples=EXAMPLES_PER_ROUND,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


class Fuzzer:
    """Runs the targets, and keeps what came of it."""

    def __init__(self, folder: Path) -> None:
        """Starts with a folder for the files."""
        self.outcomes: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self._folder = folder
        # A segment from which a damaged manifest is made again; copied, since a file that is written is flushed.
        self._posters = folder / "original"
        Part(self._posters, 0, 1).replace((), [LEDGER.empty_table()])

    def lay_posters(self) -> None:
        """Makes the folder of poster parts as it was."""
        shutil.rmtree(self._folder / "posters", ignore_errors=True)
        shutil.copytree(self._posters, self._folder / "posters")

    def check(self, name: str, content: bytes) -> None:
        """Reads an example of a target; raises what it should not have, unless that kind of failure is known."""
        target, _ = TARGETS[name]
        try:
            with time_limit():
                error = target(self._folder, content)
                # The command line prints it as its only line.
                assert error is None or not {"\n", "\r"} & set(str(error)), str(error)
            self.outcomes[f"{name}: {'refused' if error else 'read'}"] += 1
        except Exception as failure:  # any exception but the documented ones is what this program is for
            if describe_failure(name, failure) not in self.failures:
                raise
            self.outcomes[f"{name}: known failure"] += 1

    def run_round(self, name: str, number: int) -> None:
        """Reads some examples of one target, the same ones for the same number."""
        self.lay_posters()
        last = b""

        def check(content: bytes) -> None:
            nonlocal last
            last = content
            self.check(name, content)

        _, examples = TARGETS[name]
        try:
            seed(number)(_PROFILE(given(examples)(check)))()
        except Exception as failure:  # the smallest example that hypothesis found is the last one
            kind = describe_failure(name, failure)
            self.failures[kind] = f"{kind}\n  {str(failure)[:300]!r}\n  {last[:500]!r}"
            print(f"FAILED {self.failures[kind]}", flush=True)


def describe_failure(name: str, failure: Exception) -> str:
    """Returns what tells a failure from others: the exception, and the line of the project, or of this file."""
    frames = traceback.extract_tb(failure.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename and "/lib/python" not in frame.filename]
    frame = ours[-1]
    return f"{name}: {type(failure).__name__} in {Path(frame.filename).name}:{frame.lineno} ({frame.line})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="by default all, in turns")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # each damaged file is a warning
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        # Each round has a seed of its own, up to a million rounds.
        for number, name in enumerate(itertools.cycle(options.target or TARGETS)):
            if time.monotonic() - start > options.seconds:
                break
            fuzzer.run_round(name, options.seed * 1_000_000 + number)
    print(f"settings: {fuzzer.outcomes.total():,} examples of seed {options.seed}, {number} rounds")
    for outcome, count in sorted(fuzzer.outcomes.items()):
        print(f"  {outcome}: {count:,}")
    print(f"failures: {len(fuzzer.failures)}")
    for text in fuzzer.failures.values():
        print(f"  {text}")
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
