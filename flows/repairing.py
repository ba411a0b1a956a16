"""Run stages again after one of them repaired the files of an earlier one."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tasks.errors import RepairedError, one_line

logger = logging.getLogger(__name__)

# Where that does not suffice, the disk fails.
_MAX_REPEATS = 3

Result = TypeVar("Result")


def repeat_repaired(run_stages: Callable[[], Result]) -> Result:
    """Runs stages, and again where one of them repaired the files of an earlier one; finished work is not done again.

    Raises:
        RepairedError: If that goes on after `_MAX_REPEATS` repetitions.
    """
    for _ in range(_MAX_REPEATS):
        try:
            return run_stages()
        except RepairedError as error:
            logger.info("the stages run again, finished work is kept: %s", one_line(error))
    return run_stages()
