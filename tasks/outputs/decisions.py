"""The decision: which genres a model names for a poster, and in which order. The same everywhere.

Reports, gate, SavedModel, LiteRT model, `predict` and `label` decide by this one rule. `tasks.outputs.labels` has it as
a layer of the exported model.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.calibration import THRESHOLD

Order = Literal["calibrated", "confidences"]


@dataclass(frozen=True)
class DecisionRule:
    """The genres over 0.5, at least the first, at most `top_k`, in this order.

    Attributes:
        order: What genres are ranked by, highest first: calibrated probabilities or confidences.
        top_k: Maximum number of genres; None: no maximum.
    """

    order: Order = "confidences"
    top_k: int | None = None

    def rank(self, confidences: NDArray[np.floating], calibrated: NDArray[np.floating]) -> NDArray[np.floating]:
        """Returns the scores that genres are ranked by."""
        return calibrated if self.order == "calibrated" else confidences

    def decide(self, confidences: NDArray[np.floating], calibrated: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Returns `decide` by this rule."""
        return decide(confidences, self.rank(confidences, calibrated), self.top_k)

    def get_config(self) -> dict[str, Any]:
        """Returns the attributes, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Returns the rule that `get_config` described.

        Raises:
            ValueError: If it has no known order.
        """
        if config["order"] not in get_args(Order):
            raise ValueError(f"expected an order among {', '.join(get_args(Order))}. Received: {config['order']!r}")
        return cls(cast(Order, config["order"]), config["top_k"])


def decide(
    confidences: NDArray[np.floating], ranking: NDArray[np.floating], top_k: int | None = None
) -> NDArray[np.bool_]:
    """Returns which genres are predicted.

    Args:
        confidences: Confidences, in [0, 1], shape `(num_films, num_genres)`.
        ranking: Scores that genres are ranked by, same shape. Of equal scores the first column comes first.
        top_k: Maximum number of genres of a film; None: no maximum.

    Returns:
        Whether a genre is predicted, same shape: those whose confidence is strictly over 0.5, the best by `ranking`
        where there is none, and the best `top_k` by `ranking` where there are more.
    """
    decisions = confidences > THRESHOLD
    without = ~decisions.any(axis=1)
    decisions[without, ranking[without].argmax(axis=1)] = True
    return limit(decisions, ranking, top_k)


def limit(decisions: NDArray[np.bool_], ranking: NDArray[np.floating], top_k: int | None) -> NDArray[np.bool_]:
    """Returns at most `top_k` of the decisions of each film, the best by `ranking`; all of them if it is None."""
    if top_k is None:
        return decisions
    places = np.argsort(sort_decided(decisions, ranking), axis=1)
    return decisions & (places < top_k)


def sort_decided(decisions: NDArray[np.bool_], ranking: NDArray[np.floating]) -> NDArray[np.intp]:
    """Returns the columns of each film in the order of a prediction: what was decided first, the best of it first."""
    return np.argsort(np.where(decisions, -ranking, np.inf), axis=1, kind="stable")
