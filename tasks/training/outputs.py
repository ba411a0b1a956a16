"""What a head says of a film: its genres and, where settings ask for them, its decade, its score and an embedding.

Each output has a layer, a loss and metrics of its own. Its targets and its answers are matrices, a row a film; a film
without a target costs nothing and counts for nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tasks.errors import DatasetError
from tasks.settings import HeadSettings, TrainingSettings
from tasks.training.examples import Examples
from tasks.training.losses import SupervisedContrastive, make_loss
from tasks.training.metrics import F1ByLabel, MacroF1, PrecisionByLabel, RecallByLabel

GENRES, DECADE, SCORE, EMBEDDING = "genres", "decade", "score", "embedding"

# The layer behind which the genres' sigmoid comes: calibration and thresholds are folded into its weights.
LOGITS = "logits"
CONFIDENCES = "confidences"

# Over the films that have a target, in place of all those of the batch.
_MEAN = "mean_with_sample_weight"

# Of what posters tell little of: random weights take longer to unlearn than the rest to learn. (Over two seeds the
# score's difference on validation was 0.90 points from random weights, 0.77 from none, and the median's 0.82.)
_INITIALLY_NOTHING = "zeros"

# In points; where all scores are the same, there would be no scale.
_MIN_DEVIATION = 0.1

_NOTHING_TO_LEARN = "no film of the training split has a {}, which the head `{}` is to learn: expected {}"


class Output(ABC):
    """One output of a head.

    Args:
        name: of the output.
        weight: of its loss in the sum.
        loss: of targets and answers.
        metrics: over an epoch.
        num_columns: of the answers.
        target_spec: dtype and number of columns of the targets.
    """

    def __init__(
        self,
        name: str,
        weight: float,
        loss: keras.losses.Loss,
        metrics: Sequence[keras.metrics.Metric],
        num_columns: int,
        target_spec: tuple[tf.DType, int],
    ) -> None:
        self.name = name
        self.weight = weight
        self.loss = loss
        self.metrics = list(metrics)
        self.num_columns = num_columns
        self.target_spec = target_spec

    @abstractmethod
    def build(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the answers, shape `(batch_size, num_columns)`, given those of the hidden layer."""

    @abstractmethod
    def read_targets(self, examples: Examples) -> NDArray[Any]:
        """Returns the targets of films, as `target_spec` says."""

    def take_present(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns targets as loss and metrics read them, and 1.0 or 0.0 for whether a film has one; None if all do."""
        return tf.cast(targets, tf.float32), None

    def measure_loss(self, targets: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
        """Returns the loss of a batch, a scalar."""
        targets, present = self.take_present(targets)
        return self.loss(targets, answers, sample_weight=present)

    def update_metrics(self, targets: tf.Tensor, answers: tf.Tensor) -> None:
        """Adds films to the metrics."""
        targets, present = self.take_present(targets)
        for metric in self.metrics:
            metric.update_state(targets, answers, sample_weight=present)


class GenresOutput(Output):
    """A probability for each genre; none, one or several may be true."""

    def __init__(self, vocabulary: Sequence[str], weight: float, loss: keras.losses.Loss) -> None:
        metrics = [
            MacroF1(len(vocabulary)),
            PrecisionByLabel(vocabulary),
            RecallByLabel(vocabulary),
            F1ByLabel(vocabulary),
        ]
        super().__init__(GENRES, weight, loss, metrics, len(vocabulary), (tf.uint8, len(vocabulary)))

    def build(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        logits = keras.layers.Dense(self.num_columns, name=LOGITS)(hidden)
        return keras.layers.Activation("sigmoid", name=CONFIDENCES)(logits)

    def read_targets(self, examples: Examples) -> NDArray[np.uint8]:
        return examples.genre_targets


class DecadeOutput(Output):
    """A probability for each decade, one of which is true; learned by cross-entropy.

    Args:
        decades: their first years, ascending.
        weight: of the loss.
    """

    def __init__(self, decades: Sequence[int], weight: float) -> None:
        loss = keras.losses.SparseCategoricalCrossentropy(reduction=_MEAN)
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="decade_accuracy")
        super().__init__(DECADE, weight, loss, [accuracy], len(decades), (tf.int32, 1))
        self.decades = list(decades)

    def build(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        answer = keras.layers.Dense(self.num_columns, "softmax", kernel_initializer=_INITIALLY_NOTHING, name=DECADE)
        return answer(hidden)

    def read_targets(self, examples: Examples) -> NDArray[np.int32]:
        """Returns the column of each film's decade; -1 where there is no year, or a decade that is not known."""
        return pick_decades(examples.years, self.decades)[:, np.newaxis]

    def take_present(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.maximum(targets, 0), tf.cast(targets[:, 0] >= 0, tf.float32)


class ScoreOutput(Output):
    """IMDB's score in points, from 1 to 10; learned by the mean of squared differences.

    Args:
        mean: of the scores of the training split, which an untrained head answers.
        deviation: their standard deviation.
        weight: of the loss.
    """

    def __init__(self, mean: float, deviation: float, weight: float) -> None:
        difference = keras.metrics.MeanAbsoluteError(name="score_mean_absolute_error")
        loss = keras.losses.MeanSquaredError(reduction=_MEAN)
        super().__init__(SCORE, weight, loss, [difference], 1, (tf.float32, 1))
        self.mean = mean
        self.deviation = deviation

    def build(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        deviations = keras.layers.Dense(1, kernel_initializer=_INITIALLY_NOTHING, name="score_deviations")(hidden)
        return keras.layers.Rescaling(self.deviation, self.mean, name=SCORE)(deviations)

    def read_targets(self, examples: Examples) -> NDArray[np.float32]:
        return examples.scores[:, np.newaxis]

    def take_present(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return targets, tf.cast(targets[:, 0] > 0, tf.float32)


class EmbeddingOutput(Output):
    """A vector of length 1, near to those of films that share genres; learned by a supervised contrastive loss.

    Args:
        size: of the vector.
        num_genres: columns of the genre targets.
        weight: of the loss.
        temperature: of the loss.
    """

    def __init__(self, size: int, num_genres: int, weight: float, temperature: float) -> None:
        super().__init__(EMBEDDING, weight, SupervisedContrastive(temperature), [], size, (tf.uint8, num_genres))

    def build(self, hidden: keras.KerasTensor) -> keras.KerasTensor:
        return keras.layers.UnitNormalization(name=EMBEDDING)(
            keras.layers.Dense(self.num_columns, name="projection")(hidden)
        )

    def read_targets(self, examples: Examples) -> NDArray[np.uint8]:
        return examples.genre_targets


def find_decade(years: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns the first years of the decades: 1990 for 1994, and 0 for 0."""
    return years // 10 * 10


def find_decades(years: NDArray[np.int32]) -> list[int]:
    """Returns the first years of the decades that films are of, ascending."""
    return [int(decade) for decade in np.unique(find_decade(years[years > 0]))]


def describe_decade(decade: int) -> str:
    """Returns its name: `1990s`."""
    return f"{decade}s"


def pick_decades(years: NDArray[np.int32], decades: Sequence[int]) -> NDArray[np.int32]:
    """Returns which of the decades each film is of, -1 for none of them or no year, shape `(num_films,)`."""
    columns = {decade: column for column, decade in enumerate(decades)}
    return np.array([columns.get(decade, -1) for decade in find_decade(years).tolist()], np.int32)


def make_outputs(
    vocabulary: Sequence[str], settings: TrainingSettings, heads: HeadSettings, train: Examples
) -> list[Output]:
    """Returns what a head is to say, genres first.

    Args:
        vocabulary: the genres, in the order of the targets.
        settings: the recipe, which names the loss of the genres.
        heads: which outputs there are besides, and how much each counts.
        train: the training split: the decades are those of its films.

    Raises:
        DatasetError: if none of its films has a year, or a score, that is to be learned.
    """
    outputs: list[Output] = [GenresOutput(vocabulary, heads.genres, make_loss(settings.loss))]
    if heads.decade is not None:
        decades = find_decades(train.years)
        if not decades:
            raise DatasetError(_NOTHING_TO_LEARN.format("year", "decade", "a year in the title, such as (1994)"))
        outputs.append(DecadeOutput(decades, heads.decade))
    if heads.score is not None:
        scores = train.scores[train.scores > 0]
        if not len(scores):
            raise DatasetError(_NOTHING_TO_LEARN.format("score", "score", "a number in the column IMDB Score"))
        outputs.append(ScoreOutput(float(scores.mean()), max(float(scores.std()), _MIN_DEVIATION), heads.score))
    if heads.embedding is not None:
        sizes = (heads.embedding_size, len(vocabulary))
        outputs.append(EmbeddingOutput(*sizes, heads.embedding, heads.embedding_temperature))
    return outputs
