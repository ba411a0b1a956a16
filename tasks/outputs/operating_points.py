"""Thresholds for a wanted precision, as they are in a model's folder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def list_thresholds(points: Mapping[str, Mapping[str, Any]], precision: str) -> NDArray[np.float32]:
    """Returns the threshold of each genre, in the order of `points`; NaN for one that does not reach the precision.

    Args:
        points: By genre and precision, as `tasks.training.operating_points.find_operating_points` returns them.
        precision: One of the precisions: "0.8".

    Raises:
        KeyError: If there is no such precision.
    """
    found = [by_precision[precision] for by_precision in points.values()]
    return np.array([point["threshold"] if point else np.nan for point in found], np.float32)
