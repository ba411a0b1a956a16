"""Kills a run when it is about to rename something: Python imports this in every process that test_resume.py starts.

The run dies by SIGKILL just before a file or folder gets a final name that has KILL_AT in it, be it in the run itself
or in a process that it started: all of it is written by then, and nothing is in place.
"""

import os
import signal
import sys

target = os.environ["KILL_AT"]
# The first process is the run; those it starts inherit this.
run = int(os.environ.setdefault("KILL_PID", str(os.getpid())))


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "os.rename" and target in str(arguments[1]):
        os.kill(run, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
