import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tasks.errors import LockedError
from tasks.locking import locked


def test_the_second_stops_and_says_who_was_first(tmp_path: Path, hold_lock) -> None:
    with (
        hold_lock(tmp_path, "a test") as process,
        pytest.raises(LockedError, match=rf"is in use by a test \(process {process.pid} on .*wait until"),
        locked(tmp_path, "me"),
    ):
        pass


def test_the_second_waits_as_long_as_it_is_told_to(tmp_path: Path, hold_lock) -> None:
    with hold_lock(tmp_path, "a test") as process:
        assert process.stdin is not None
        timer = threading.Timer(0.5, lambda: process.stdin.write("\n") and process.stdin.flush())
        timer.start()
        start = time.monotonic()
        with locked(tmp_path, "me", wait_seconds=60) as left_behind:
            assert 0.4 < time.monotonic() - start < 30
            assert left_behind is None
        timer.join()


def test_a_killed_holder_lets_go_and_is_known(tmp_path: Path, hold_lock) -> None:
    with hold_lock(tmp_path, "a test") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with locked(tmp_path, "me") as left_behind:
            assert left_behind == {"runs": ["00000000-0000-4000-8000-000000000000"]}
            assert json.loads((tmp_path / ".lock.json").read_text())["what"] == "me"
    with locked(tmp_path, "me") as left_behind:
        assert left_behind is None
    assert not (tmp_path / ".lock.json").exists()


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), locked(tmp_path, "me"):
        raise ValueError("mine")
    with locked(tmp_path, "me") as left_behind:
        assert left_behind is None
