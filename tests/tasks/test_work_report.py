import logging
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from tasks import work_report
from tasks.errors import StoreError
from tasks.work_report import LogLine, WorkReport, become_worker, check_wanted, log_failed_work, report_work

logger = logging.getLogger("tasks.posters.task")


@pytest.fixture
def worker() -> Iterator[None]:
    become_worker("w1")
    yield
    work_report._worker_name, work_report._is_wanted = None, lambda: True


def log(part: str) -> int:
    logger.info("posters: %s", part, extra={"part": part})
    return 7


def test_a_task_of_the_flows_process_returns_no_lines() -> None:
    report = report_work(lambda: log("part-00001"))
    assert (report.value, report.worker, report.lines) == (7, None, ())


def test_a_worker_returns_the_lines_of_its_task(worker: None) -> None:
    report = report_work(lambda: log("part-00001"))
    (line,) = report.lines
    assert (report.value, report.worker) == (7, "w1")
    assert (line.logger, line.level, line.message, line.part) == (
        "tasks.posters.task",
        logging.INFO,
        "posters: part-00001",
        "part-00001",
    )


def test_tasks_at_the_same_time_have_their_own_lines(worker: None) -> None:
    both = Barrier(2, timeout=10)

    def work(part: str) -> str:
        both.wait()
        log(part)
        both.wait()
        return part

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda part: report_work(lambda: work(part)), ["a", "b"]))
    assert [[line.part for line in report.lines] for report in reports] == [["a"], ["b"]]


def test_a_traceback_is_beside_its_line_and_the_newest_lines_are_kept(worker: None) -> None:
    def work() -> None:
        for number in range(500):
            logger.warning("%d", number)
        fail_and_log("broken")

    lines = report_work(work).lines
    assert len(lines) == 200
    assert lines[0].message == "301"
    assert lines[-1].message == "failed"
    assert str(lines[-1].traceback).startswith("Traceback")
    assert str(lines[-1].traceback).endswith("ValueError: broken")


def fail_and_log(message: str) -> None:
    try:
        raise ValueError(message)
    except ValueError:
        logger.exception("failed")


def test_a_traceback_has_no_secrets_of_addresses(worker: None, caplog: pytest.LogCaptureFixture) -> None:
    report = report_work(lambda: fail_and_log("https://user:secret@example.org/MovieGenre.csv?token=hidden"))
    (line,) = report.lines
    assert "ValueError: https://" in str(line.traceback)
    assert "secret" not in str(line.traceback)
    assert "hidden" not in str(line.traceback)
    caplog.clear()
    report.log_again()
    assert line.traceback is not None
    assert line.traceback in caplog.text


def test_the_lines_of_a_task_that_fails_come_with_its_exception(worker: None, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        log("part-00003")
        raise StoreError("the store is gone")

    with pytest.raises(StoreError) as raised:
        report_work(work)
    sent = pickle.loads(pickle.dumps(raised.value))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        log_failed_work(sent)
        log_failed_work(sent)
    assert [(record.getMessage(), record.worker) for record in caplog.records] == [("posters: part-00003", "w1")]
    log_failed_work(ValueError("of the flow's own process"))


def test_a_line_of_another_thread_is_in_one_report(worker: None) -> None:
    """Two tasks run when the first of them starts a thread, which logs."""
    first_runs, second_runs, has_logged = Event(), Event(), Event()

    def first() -> None:
        first_runs.set()
        second_runs.wait(10)
        with ThreadPoolExecutor(1) as helper:
            helper.submit(log, "helper").result()
        has_logged.set()

    def second() -> None:
        second_runs.set()
        has_logged.wait(10)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(report_work, first)
        first_runs.wait(10)
        other = pool.submit(report_work, second)
    assert [line.part for line in one.result().lines] == ["helper"]
    assert other.result().lines == ()


def test_lines_are_logged_again_but_not_sent_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    line = LogLine("tasks.posters.task", logging.WARNING, "100% of them", 12.5, "part-00002")
    WorkReport(None, "w1", 1.0, (line,)).log_again()
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("tasks.posters.task", "WARNING", "100% of them")
    assert (record.part, record.worker, record.created, record.send_to_api) == ("part-00002", "w1", 12.5, False)


def test_a_task_whose_run_has_ended_is_ended(worker: None) -> None:
    check_wanted()
    become_worker("w1", lambda: False)
    with pytest.raises(InterruptedError, match="the run that waited for this task has ended"):
        check_wanted()
