"""The targets of `fuzz_settings.py` by coverage, with Atheris: `make fuzz-coverage`.

    python tests/fuzz/fuzz_coverage.py --target settings.yaml --seconds 300 --seed 0 [--folder build/fuzz-coverage]

Atheris keeps the inputs that reach new lines of this project's modules and of PyYAML and tomllib, and mutates those.
It ends at the first failure, and leaves the input in the folder.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["yaml", "tomllib", "flows.configuration", "tasks.model_folder", "tasks.posters.segments", "tasks.dataset"]
):
    import fuzz_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=list(fuzz_settings.TARGETS), required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz-coverage"))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    corpus = options.folder / options.target.strip("-*.")
    corpus.mkdir(parents=True, exist_ok=True)
    example, kind = fuzz_settings.EXAMPLES.get(options.target, (None, ""))
    (corpus / "example").write_bytes(fuzz_settings.write_document(example, kind) if kind else b"training.epochs=3")
    work = options.folder / "work"  # not a temporary one: libFuzzer ends the process without cleaning up
    shutil.rmtree(work, ignore_errors=True)
    fuzzer = fuzz_settings.Fuzzer(work)
    fuzzer.lay_posters()
    # LibFuzzer takes the seed 0 for a random one.
    arguments = [sys.argv[0], str(corpus), f"-seed={options.seed + 1}", f"-max_total_time={options.seconds}"]
    arguments += [
        f"-timeout={fuzz_settings.MAX_SECONDS}",
        f"-artifact_prefix={options.folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, lambda content: fuzzer.check(options.target, content))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
