"""Run `poster-genres`, and kill the process when it is about to rename something: run as a script by test_resume.py.

    python kill_at.py TARGET ARGUMENT...

Dies by SIGKILL just before a file or folder gets a final name that has TARGET in it: all of it is written by then, and
nothing is in place.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
target, *command = sys.argv[1:]


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "os.rename" and target in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)

from flows.cli import main  # noqa: E402

main(command)
