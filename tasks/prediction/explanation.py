"""Where in a poster the evidence for its genres is, found by occlusion.

A part of the poster is hidden, and the model predicts again: what a genre loses is the evidence of that part (Zeiler
and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2). Unlike the gradients of one layer
this holds for every model here, whatever inner layers and views its features come from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of a poster of 2:3 cells are squares. A window is 2 x 2 cells, one cell further each time: 40 predictions.
NUM_ROWS, NUM_COLUMNS = 9, 6
_WINDOW = 2
# Nearer to 0 and 1 a confidence in float32 says little of its log-odds.
_MIN_CONFIDENCE = 1e-6


@dataclass(frozen=True)
class Explanation:
    """The evidence for the genres of one poster.

    Attributes:
        labels: The genres.
        evidence: By how much the log-odds of each fall where a cell of the poster is hidden, the mean of the windows
            that hide it; below 0 the cell speaks against the genre. Float32, shape `(num_labels, 9, 6)`: the rows from
            the top, the columns from the left.
    """

    labels: list[str]
    evidence: NDArray[np.float32]


def measure_evidence(
    pixels: NDArray[np.float32], predict_confidences: Callable[[Sequence[NDArray[np.float32]]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Returns by how much the log-odds of each genre fall where a cell of a poster is hidden.

    A hidden part has the mean colour of the poster: black or grey would be evidence of its own.

    Args:
        pixels: The poster, shape `(height, width, 3)`, 0-255.
        predict_confidences: Function from images of that shape to confidences in [0, 1], shape `(num_images,
            num_genres)`.

    Returns:
        Shape `(num_genres, NUM_ROWS, NUM_COLUMNS)`.
    """
    windows = [
        (slice(row, row + _WINDOW), slice(column, column + _WINDOW))
        for row in range(NUM_ROWS - _WINDOW + 1)
        for column in range(NUM_COLUMNS - _WINDOW + 1)
    ]
    color = pixels.mean(axis=(0, 1))
    images = [pixels, *(_hide(pixels, color, *window) for window in windows)]
    confidences = predict_confidences(images).astype(np.float64).clip(_MIN_CONFIDENCE, 1 - _MIN_CONFIDENCE)
    # Not SciPy's logit, whose import takes longer than a prediction.
    log_odds = np.log(confidences / (1 - confidences))
    total = np.zeros((confidences.shape[1], NUM_ROWS, NUM_COLUMNS))
    num_windows = np.zeros((NUM_ROWS, NUM_COLUMNS))
    for window, hidden in zip(windows, log_odds[1:], strict=True):
        total[:, *window] += (log_odds[0] - hidden)[:, np.newaxis, np.newaxis]
        num_windows[window] += 1
    evidence: NDArray[np.float32] = (total / num_windows).astype(np.float32)
    return evidence


def _hide(pixels: NDArray[np.float32], color: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
    height, width, _ = pixels.shape
    hidden = pixels.copy()
    hidden[
        rows.start * height // NUM_ROWS : rows.stop * height // NUM_ROWS,
        columns.start * width // NUM_COLUMNS : columns.stop * width // NUM_COLUMNS,
    ] = color
    return hidden
