"""Holders are threads here, and a process that is killed; the store is a folder, or a real S3-compatible server."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.errors import LockedError
from tasks.storage.lease import LEASE, Lease, leased
from tasks.storage.objects import ObjectStore


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3"))


def enter(store: ObjectStore) -> None:
    with leased(store, "another", seconds_between_signs=0.1):
        pass


def test_a_second_run_is_refused_and_the_next_one_is_not(store: ObjectStore) -> None:
    words = rf"is in use by a run \(process {os.getpid()} on .*, since 2.*\): wait"
    with leased(store, "a run", seconds_between_signs=0.1), pytest.raises(LockedError, match=words):
        enter(store)
    start = time.monotonic()
    with leased(store, "another", seconds_between_signs=0.1):
        assert time.monotonic() - start < 5


def test_a_run_waits_for_another_to_end(store: ObjectStore) -> None:
    ended = threading.Event()

    def hold() -> None:
        with leased(store, "the first", seconds_between_signs=0.1):
            held.set()
            time.sleep(1)
            ended.set()

    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    with leased(store, "the second", wait_seconds=60, seconds_between_signs=0.1):
        assert ended.is_set()
    thread.join()


HOLD = """
import sys, time
from tasks.storage.lease import leased
from tasks.storage.objects import ObjectStore
with leased(ObjectStore(sys.argv[1]), "a killed run", seconds_between_signs=0.2):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lease_of_a_killed_run_is_taken_over(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    command = [sys.executable, "-c", HOLD, store.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
    with leased(store, "the next", seconds_between_signs=0.2, seconds_to_live=2) as lease:
        lease.check()
    assert f"a killed run (process {process.pid}" in caplog.text
    assert "showed no sign of life: taken over" in caplog.text


def wait_for_loss(lease: Lease) -> LockedError:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            lease.check()
        except LockedError as error:
            return error
        time.sleep(0.05)
    pytest.fail("it was not noticed")


def test_a_run_notices_that_it_was_taken_over(store: ObjectStore) -> None:
    with leased(store, "a run", seconds_between_signs=0.1) as lease:
        store.write(LEASE, b'{"what": "another run"}')
        error = wait_for_loss(lease)
    assert "was taken over by another run" in str(error)
    # What the other one wrote stays.
    assert json.loads(store.read(LEASE) or b"") == {"what": "another run"}


def test_of_many_runs_at_once_one_gets_the_lease(store: ObjectStore) -> None:
    results: list[str] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait()
        try:
            with leased(store, f"run {threading.get_ident()}", seconds_between_signs=0.1):
                results.append("held")
                time.sleep(2)
        except LockedError:
            results.append("refused")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["held", "refused", "refused", "refused"]


def test_a_damaged_lease_is_taken_over_after_its_time(store: ObjectStore) -> None:
    store.write(LEASE, b"{")
    with leased(store, "a run", seconds_between_signs=0.1, seconds_to_live=0.3) as lease:
        lease.check()
