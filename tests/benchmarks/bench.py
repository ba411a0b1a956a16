"""Measure the pipeline beside its peers, on the real posters: `make bench`.

Pairs are measured in turns, several times; what is written to `results.json` and `results.md` are medians, and beside a
ratio the worst of its rounds. What is too long to be run whole is run in part and scaled, which its row says.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measuring import HERE, REAL_POSTERS, Results

import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)


def main() -> None:
    """Runs everything, or what is named on the command line, and writes the results."""
    import downloads
    import memory
    import small
    import stages

    if not (REAL_POSTERS / "MovieGenre.csv").exists():
        sys.exit(f"no real posters at {REAL_POSTERS}: set POSTER_GENRES_REAL_POSTERS to a folder that has them")
    path = HERE / "results.json"
    results: Results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    results["machine"] = {"cores": os.cpu_count(), "cpu": _cpu(), "python": platform.python_version()}
    parts: dict[str, Callable[[Path], Results]] = {
        "downloads": downloads.measure,
        "stages": stages.measure,
        "small": small.measure,
        "memory": memory.measure,
    }
    for name in sys.argv[1:] or parts:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as work:
            results[name] = parts[name](Path(work))
        path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    (HERE / "results.md").write_text(render(results), "utf-8")
    print(render(results))


def render(results: Results) -> str:
    """Returns the table."""
    lines = ["| what | here | beside it | ratio, median (worst) |", "|---|---|---|---|"]
    for part in ("downloads", "stages", "small"):
        for what, found in results.get(part, {}).items():
            (first, ours), *others = found["medians"].items()
            if not others:
                lines.append(f"| {what}: {first} | {_number(ours)} {found['unit']} | | |")
            for name, theirs in others:
                ratio = found["ratios"][name]
                against = f"{name}: {_number(theirs)}"
                lines.append(
                    f"| {what}: {first} | {_number(ours)} {found['unit']} | {against} | "
                    f"{ratio['median']:.1f} ({ratio['worst']:.1f}) |"
                )
    if peaks := results.get("memory"):
        sizes = list(next(iter(peaks.values())))
        lines += ["", f"| peak memory, GiB, at posters | {' | '.join(sizes)} |", "|---" * (len(sizes) + 1) + "|"]
        lines += [f"| {stage} | {' | '.join(f'{of[size]:.2f}' for size in sizes)} |" for stage, of in peaks.items()]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}"


def _cpu() -> str:
    done = subprocess.run(["lscpu"], capture_output=True, text=True, check=False)
    names = [line.partition(":")[2].strip() for line in done.stdout.splitlines() if line.startswith("Model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
