"""Run stages again after one of them took out a damaged file of an earlier one."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tasks.errors import RepairedError

logger = logging.getLogger(__name__)

_MAX_REPAIRS = 3

Result = TypeVar("Result")


def run_until_whole(run: Callable[[], Result]) -> Result:
    """Returns the result of `run`, which is called again after a `RepairedError`: finished work is kept.

    Raises:
        RepairedError: Files were damaged at each of some repetitions, too: the disk may be failing.
    """
    for _ in range(_MAX_REPAIRS):
        try:
            return run()
        except RepairedError as error:
            logger.warning("%s: running the stages again that made it", error)
    return run()
