import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tasks import work_report
from tasks.work_report import LogLine, WorkReport, become_worker, check_wanted, report_work

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


def test_a_traceback_is_in_its_line_and_the_newest_lines_are_kept(worker: None) -> None:
    def work() -> None:
        for number in range(500):
            logger.warning("%d", number)
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("failed")

    lines = report_work(work).lines
    assert len(lines) == 200
    assert lines[0].message == "301"
    assert lines[-1].message.startswith("failed\nTraceback")
    assert lines[-1].message.endswith("ValueError: broken")


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
