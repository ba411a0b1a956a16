"""Losses for multi-label heads, on probabilities.

`y_true` and `y_pred` have the shape `(batch_size, num_labels)`; `y_true` is 0 or 1, `y_pred` in [0, 1].
"""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="poster_genres")
class MacroSoftF1(keras.losses.Loss):
    """One minus the F1 score of each label, with probabilities in place of decisions, averaged over the labels.

    For each label over the batch: `tp = sum(y_true * y_pred)`, `fp = sum((1 - y_true) * y_pred)`,
    `fn = sum(y_true * (1 - y_pred))`, `loss = 1 - 2 tp / (2 tp + fp + fn)`. The loss of a label without examples in
    the batch is 1, without a gradient. From Maiza, "The Unknown Benefits of using a Soft-F1 Loss in Classification
    Systems" (2019).

    Example:
        >>> loss = MacroSoftF1()
        >>> float(loss([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.5]]))  # (0 + (1 - 1 / 1.5)) / 2
        0.1666...
    """

    def __init__(self, name: str = "macro_soft_f1") -> None:
        # The mean over what call() returns is the mean over labels.
        super().__init__(name=name, reduction="sum_over_batch_size")

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each label, shape `(num_labels,)`."""
        return _soft_f1_losses(ops.cast(y_true, y_pred.dtype), y_pred)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class DoubleSoftF1(keras.losses.Loss):
    """The mean of `MacroSoftF1` and the same of the complements: presence and absence of a label have equal weight.

    From Maiza (2019), as above, for problems in which the absence of a label matters, too.
    """

    def __init__(self, name: str = "double_soft_f1") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each label, shape `(num_labels,)`."""
        y_true = ops.cast(y_true, y_pred.dtype)
        return (_soft_f1_losses(y_true, y_pred) + _soft_f1_losses(1.0 - y_true, 1.0 - y_pred)) / 2.0

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class MixedSoftF1(keras.losses.Loss):
    """A weighted mean of `MacroSoftF1` and binary cross-entropy, which ranks films better and saturates less.

    Args:
        share: Weight of soft-F1, from 0 to 1.
        name: Name in the logs.
    """

    def __init__(self, share: float = 0.8, name: str = "mixed_soft_f1") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        if not 0 <= share <= 1:
            raise ValueError(f"share must be between 0 and 1. Received: share={share}")
        self.share = share

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each label, shape `(num_labels,)`."""
        y_true = ops.cast(y_true, y_pred.dtype)
        crossentropy = ops.mean(ops.binary_crossentropy(y_true, y_pred), axis=0)
        return self.share * _soft_f1_losses(y_true, y_pred) + (1.0 - self.share) * crossentropy

    def get_config(self) -> dict[str, Any]:
        return {"share": self.share, "name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class SigmoidF1(keras.losses.Loss):
    """`MacroSoftF1` of `sigmoid(slope * (z + offset))`, z being the logits of `y_pred`.

    A steep slope approximates decisions, a gentle one spreads the gradient. From Bénédict, Koops, Odijk and de Rijke,
    "sigmoidF1: A Smooth F1 Score Surrogate Loss for Multilabel Classification" (2021), whose beta and eta they are.

    Args:
        slope: Factor of the logits, over 0; 1 without offset is `MacroSoftF1`.
        offset: Summand of the logits.
        name: Name in the logs.
    """

    def __init__(self, slope: float = 0.5, offset: float = 0.0, name: str = "sigmoid_f1") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        if not slope > 0:
            raise ValueError(f"slope must be over 0. Received: slope={slope}")
        self.slope = slope
        self.offset = offset

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each label, shape `(num_labels,)`."""
        clipped = ops.clip(y_pred, keras.config.epsilon(), 1.0 - keras.config.epsilon())
        logits = ops.log(clipped) - ops.log1p(-clipped)
        return _soft_f1_losses(ops.cast(y_true, y_pred.dtype), ops.sigmoid(self.slope * (logits + self.offset)))

    def get_config(self) -> dict[str, Any]:
        return {"slope": self.slope, "offset": self.offset, "name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class AsymmetricLoss(keras.losses.Loss):
    """Cross-entropy in which true negatives weigh less, and those with a probability under `margin` nothing.

    For each film and label `-log(p)` where the film has the label, otherwise `-q ** focus * log(1 - q)` with
    `q = max(p - margin, 0)`; the mean over films and labels. From Ben-Baruch et al., "Asymmetric Loss For Multi-Label
    Classification" (2020), with their focus on positives of 0.

    Args:
        focus: Their gamma of negatives, 0 or from 1; 0 without margin is binary cross-entropy.
        margin: Probability of a negative that costs nothing, in [0, 1).
        name: Name in the logs.
    """

    def __init__(self, focus: float = 4.0, margin: float = 0.05, name: str = "asymmetric") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        if not (focus == 0 or focus >= 1) or not 0 <= margin < 1:
            # Between 0 and 1 the gradient is unbounded where q approaches 0.
            raise ValueError(f"focus must be 0 or from 1, margin in [0, 1). Received: focus={focus}, margin={margin}")
        self.focus = focus
        self.margin = margin

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each film, shape `(batch_size,)`."""
        y_true = ops.cast(y_true, y_pred.dtype)
        p = ops.clip(y_pred, keras.config.epsilon(), 1.0 - keras.config.epsilon())
        q = ops.maximum(p - self.margin, 0.0)
        return ops.mean(-y_true * ops.log(p) - (1.0 - y_true) * q**self.focus * ops.log1p(-q), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"focus": self.focus, "margin": self.margin, "name": self.name}


@keras.saving.register_keras_serializable(package="poster_genres")
class SupervisedContrastive(keras.losses.Loss):
    """Attracts the embeddings of examples by the share of common labels, and repels all others.

    Of an example i of the batch, with `s_ij` the product of two embeddings over `temperature` and `w_ij` the share of
    common labels among all that either has (Jaccard): `-sum_j w_ij log(exp(s_ij) / sum_k exp(s_ik)) / sum_j w_ij`, for
    j and k other than i; the mean over those examples that share a label with another. With one label an example it is
    Khosla et al., "Supervised Contrastive Learning" (2020), equation 2.

    `y_pred` are embeddings of length 1, shape `(batch_size, size)`.

    Args:
        temperature: Divisor of the similarities, over 0.
        name: Name in the logs.
    """

    def __init__(self, temperature: float = 0.2, name: str = "supervised_contrastive") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        if not temperature > 0:
            raise ValueError(f"temperature must be over 0. Received: temperature={temperature}")
        self.temperature = temperature

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the loss of each example, shape `(batch_size,)`, scaled so that their mean is the above."""
        y_true = ops.cast(y_true, y_pred.dtype)
        others = 1.0 - ops.eye(ops.shape(y_pred)[0], dtype=y_pred.dtype)
        common = ops.matmul(y_true, ops.transpose(y_true))
        num_labels = ops.sum(y_true, axis=1)
        either = num_labels[:, None] + num_labels[None, :] - common
        weights = others * common / ops.maximum(either, 1.0)
        # Far below any other: an example is not compared with itself.
        similarities = ops.matmul(y_pred, ops.transpose(y_pred)) / self.temperature - 1e9 * (1.0 - others)
        sums = ops.sum(weights, axis=1)
        costs = -ops.sum(weights * ops.log_softmax(similarities, axis=1), axis=1) / ops.maximum(sums, 1e-9)
        share = ops.mean(ops.cast(sums > 0, y_pred.dtype))
        return costs / ops.maximum(share, 1e-9)

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "name": self.name}


def _soft_f1_losses(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """Returns one minus the soft F1 score of each label, shape `(num_labels,)`."""
    true_positives = ops.sum(y_true * y_pred, axis=0)
    # 2 tp + fp + fn, since tp + fn = sum(y_true) and tp + fp = sum(y_pred).
    total = ops.sum(y_true, axis=0) + ops.sum(y_pred, axis=0)
    return 1.0 - 2.0 * true_positives / ops.maximum(total, keras.config.epsilon())


def make_loss(name: str, soft_f1_share: float) -> keras.losses.Loss:
    """Returns the loss that `training.loss` names, with the constants that were measured.

    Args:
        name: Name of the loss.
        soft_f1_share: Share of soft-F1 in `mixed_soft_f1`.
    """
    if name == "mixed_soft_f1":
        return MixedSoftF1(soft_f1_share)
    losses: dict[str, type[keras.losses.Loss]] = {
        "soft_f1": MacroSoftF1,
        "double_soft_f1": DoubleSoftF1,
        "sigmoid_f1": SigmoidF1,
        "asymmetric": AsymmetricLoss,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    return losses[name]()
