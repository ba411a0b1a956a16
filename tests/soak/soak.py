"""The posters stage over a large catalog with many faults, killed again and again.

    python tests/soak/soak.py [--rows 200000] [--kills 20] [--seed 0] [--folder /tmp/...]

Downloads the posters of a synthetic catalog twice from a server on loopback, one poster in twenty with each fault
(`server.py`): once without interruption, and once killed by SIGKILL at random moments, the whole run or one of its
workers. Exits with an error unless both ledgers are the same and what the faults say, each film has one row, no
process is left, and no worker needed more than 1 GiB.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import server

from tasks.posters import ledger

HERE = Path(__file__).resolve().parent
MAX_WORKER_BYTES = 1 << 30


def main() -> None:
    arguments = _parse_arguments()
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="soak-"))
    choose = random.Random(arguments.seed)
    with subprocess.Popen(
        [sys.executable, HERE / "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        port = int(serving.stdout.readline())
        print(f"{arguments.rows:,} rows; by fault: {_count_faults(arguments.rows)}", flush=True)
        start = time.monotonic()
        whole = _Run(folder / "whole", arguments.rows, port)
        whole.finish()
        seconds = time.monotonic() - start
        print(f"uninterrupted: {seconds:.0f} s, {arguments.rows / seconds:.0f} posters/s", flush=True)
        killed = _Run(folder / "killed", arguments.rows, port)
        for number in range(arguments.kills):
            what = killed.kill_after(choose.uniform(0.05, 1.0) * seconds / arguments.kills, choose.random() < 0.3)
            print(f"kill {number + 1}: {what}", flush=True)
        killed.finish()
        serving.kill()
    errors = [*_compare(whole, killed, arguments.rows), *whole.errors, *killed.errors]
    print("\n".join(errors) or "the same ledger, nothing lost", flush=True)
    if not arguments.folder:
        shutil.rmtree(folder)
    sys.exit(bool(errors))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="folder for the downloads, which is kept; by default a temporary one")
    return parser.parse_args()


def _count_faults(num_rows: int) -> dict[str, int]:
    counts = Counter(server.fault_of(number) or "none" for number in range(num_rows))
    return dict(counts.most_common())


class _Run:
    """A download in its own process, which can be killed and started again."""

    def __init__(self, folder: Path, num_rows: int, port: int) -> None:
        self.folder = folder
        self.errors: list[str] = []
        self._peak_bytes = 0
        self._command = [sys.executable, HERE / "download.py", str(folder), str(num_rows), str(port)]

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)

    def finish(self) -> None:
        """Runs to the end, and once more, which tries again what may pass; as two weekly runs do."""
        for _ in range(2):
            with self._start() as process:
                while process.poll() is None:
                    self._watch(process.pid)
                    time.sleep(0.2)
            if process.returncode:
                self.errors.append(f"{self.folder.name}: exit code {process.returncode}")
        print(f"{self.folder.name}: peak of a process {self._peak_bytes / 2**20:,.0f} MiB", flush=True)
        if self._peak_bytes > MAX_WORKER_BYTES:
            self.errors.append(f"{self.folder.name}: a process needed {self._peak_bytes / 2**20:,.0f} MiB")

    def kill_after(self, seconds: float, one_worker: bool) -> str:
        """Starts the run and kills it after some seconds of downloading; a worker alone first, if `one_worker`."""
        with self._start() as process:
            deadline = time.monotonic() + 120
            while not _list_workers(process.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            end = time.monotonic() + seconds
            killed_worker = False
            while time.monotonic() < end and process.poll() is None:
                self._watch(process.pid)
                time.sleep(0.05)
                if one_worker and not killed_worker and (workers := _list_workers(process.pid)):
                    os.kill(workers[0], signal.SIGKILL)
                    killed_worker = True
            workers = _list_workers(process.pid)
            process.kill()
        time.sleep(1)
        left = [pid for pid in workers if Path(f"/proc/{pid}").exists() and _read_state(pid) not in "ZX"]
        if left:
            self.errors.append(f"processes left after a kill: {left}")
        return f"after {seconds:.1f} s" + (", one worker before" if killed_worker else "")

    def _watch(self, pid: int) -> None:
        for worker in [pid, *_list_workers(pid)]:
            self._peak_bytes = max(self._peak_bytes, _read_peak(worker))


def _list_workers(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _read_peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _read_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _compare(whole: _Run, killed: _Run, num_rows: int) -> list[str]:
    errors = []
    ledgers = [_read_ledger(run.folder) for run in (whole, killed)]
    for run, rows in zip((whole, killed), ledgers, strict=True):
        lost = num_rows - len(rows)
        wrong = [number for number, (reason, _) in rows.items() if reason != _expect(number)]
        statuses = dict(Counter(reason or "ok" for reason, _ in rows.values()).most_common())
        print(f"{run.folder.name}: {len(rows):,} films, lost {lost}; {statuses}", flush=True)
        if lost or wrong:
            found = [(number, server.fault_of(number), rows[number][0]) for number in wrong[:5]]
            errors.append(f"{run.folder.name}: {lost} lost, {len(wrong)} with another status: {found}")
    if ledgers[0] != ledgers[1]:
        errors.append("the two ledgers differ")
    return errors


def _expect(number: int) -> str | None:
    fault = server.fault_of(number)
    return server.REASONS.get(fault) if fault else None


def _read_ledger(folder: Path) -> dict[int, tuple[str | None, str | None]]:
    rows: pa.Table = ledger.read_ledger(folder)
    times = zip(rows["seconds"].to_pylist(), rows["reason"].to_pylist(), strict=True)
    longest, reason = max(times, key=lambda pair: pair[0])  # the seconds alone: a reason may be None
    print(f"{folder.name}: longest time of a poster {longest:.1f} s ({reason})", flush=True)
    columns = (rows[name].to_pylist() for name in ("imdb_id", "reason", "sha256"))
    found = {imdb_id: (reason, sha256) for imdb_id, reason, sha256 in zip(*columns, strict=True)}
    if len(found) != rows.num_rows:
        raise AssertionError(f"{folder}: {rows.num_rows - len(found)} films have two rows")
    return found


if __name__ == "__main__":
    main()
