"""Runs the mutation tester and explains what survived: make mutants.

Mutmut changes one place of the code at a time (a sign, a bound, an argument, a text); a change that no test of the
module notices, nor mypy, has survived. `survivors.toml` says of each survivor why no test has to notice it; one that
it does not explain is an error, and so is a share of killed mutants under the aim.
"""

import argparse
import ast
import difflib
import functools
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
EXPLANATIONS = Path(__file__).with_name("survivors.toml")
MUTMUT = [sys.executable, "-m", "mutmut"]
KILLED = ("killed", "caught by type check", "timeout", "segfault", "suspicious")
AIM = 0.85


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test has noticed.

    Attributes:
        name: Name by which `mutmut show` knows it.
        change: Its file and function, the line as it is and as it would be, and in brackets the words that differ.
    """

    name: str
    change: str


def read_statuses() -> dict[str, str]:
    """Returns what became of each mutant, by name."""
    listed = subprocess.run([*MUTMUT, "results", "--all", "true"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = (line.strip().rpartition(": ") for line in listed.stdout.splitlines())
    return {name: status for name, _, status in lines}


def describe_survivors(names: list[str]) -> Iterator[Survivor]:
    """Yields the mutants of these names with their changes, as mutmut has written them to mutants/."""
    for name in names:
        module, _, function = name.rpartition(".")
        path = f"{module.replace('.', '/')}.py"
        functions = _read_functions(ROOT / "mutants" / path)
        original = re.sub(r"__mutmut_\d+$", "", function)
        change = _compare(functions[f"{original}__mutmut_orig"], functions[function])
        readable = re.sub(r"^x_?|ǁ", " ", original).strip().replace(" ", ".")
        yield Survivor(name, f"{path} {readable}: {change}")


@functools.lru_cache(maxsize=1)  # the names are in the order of their files
def _read_functions(path: Path) -> dict[str, list[str]]:
    """Returns the lines of all functions of a file, without the number of the mutant, by name."""
    source = path.read_text("utf-8")
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    lines = re.sub(r"__mutmut_\w+", "", source).splitlines()
    return {node.name: lines[node.lineno - 1 : node.end_lineno] for node in nodes}


def _compare(original: list[str], mutant: list[str]) -> str:
    lines = list(difflib.unified_diff(original, mutant, lineterm="", n=0))[2:]
    changed = [(line[0], line[1:].strip()) for line in lines if not line.startswith("@@")]
    before, after = (" ".join(text for sign, text in changed if sign == wanted) for wanted in "-+")
    return " ".join(f"{sign} {text}" for sign, text in changed) + f" [{_find_words(before, after)}]"


def _find_words(before: str, after: str) -> str:
    """Returns what differs between two lines, from the start of the argument: strict=True -> strict=False."""
    tokens, others = (re.findall(r"\w+|\W", line) for line in (before, after))
    matcher = difflib.SequenceMatcher(None, tokens, others, autojunk=False)
    edits = [edit for edit in matcher.get_opcodes() if edit[0] != "equal"]
    start = next((at + 1 for at in reversed(range(edits[0][1])) if tokens[at] in " ([{,"), 0)
    return "".join(tokens[start : edits[-1][2]]) + " -> " + "".join(others[start : edits[-1][4]])


def tabulate(statuses: dict[str, str]) -> pd.DataFrame:
    """Returns a row for each module, and one of all."""
    counts: dict[str, Counter[str]] = {}
    for name, status in statuses.items():
        module = name.rpartition(".")[0]
        for row in (module, "all"):
            counts.setdefault(row, Counter())[status] += 1
    rows = [
        {
            "module": module,
            "mutants": found.total(),
            "killed": sum(found[status] for status in KILLED),
            "of them by mypy": found["caught by type check"],
            "survived": found.total() - sum(found[status] for status in KILLED),
        }
        for module, found in counts.items()
    ]
    table = pd.DataFrame(rows)
    table["share"] = (table["killed"] / table["mutants"]).map("{:.1%}".format)
    return table.sort_values("module", key=lambda names: names.where(names != "all", "~"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--known", action="store_true", help="report on the last run, without another")
    parser.add_argument("names", nargs="*", help="mutants to run again, with * as a wildcard; all that are not known")
    arguments = parser.parse_args()
    if not arguments.known:
        subprocess.run([*MUTMUT, "run", *arguments.names], cwd=ROOT, check=True)
    statuses = read_statuses()
    if not statuses:
        sys.exit("no mutants: expected those of a run in mutants/")
    table = tabulate(statuses)
    print(table.to_markdown(index=False))
    survivors = list(describe_survivors([name for name, status in statuses.items() if status not in KILLED]))
    reasons = tomllib.loads(EXPLANATIONS.read_text("utf-8"))["explained"]
    explained = Counter[str]()
    unexplained = []
    for survivor in survivors:
        reason = next((each["why"] for each in reasons if re.search(each["change"], survivor.change)), None)
        explained[reason or ""] += 1
        if reason is None:
            unexplained.append(survivor)
    print("\nsurvivors, and why no test has to notice them:")
    for each in reasons:
        print(f"{explained[each['why']]:5} {each['why']}")
    for survivor in unexplained:
        print(f"\nnot explained: {survivor.name}\n  {survivor.change}")
    share = 1 - len(survivors) / len(statuses)
    if unexplained or share < AIM:
        sys.exit(
            f"\n{len(unexplained)} survivors are not explained (expected 0); {share:.1%} killed (at least {AIM:.0%})"
        )


if __name__ == "__main__":
    main()
