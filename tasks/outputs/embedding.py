"""An embedding of its own: a vector of length 1, near to those of films that share genres."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.outputs.output import Films, Output, OutputContext

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class EmbeddingOutput(Output):
    """The embedding; learned by a supervised contrastive loss. It is in the signature `embedding` alone.

    Attributes:
        size: Length of the vector.
        num_genres: Width of the genre targets.
        temperature: Temperature of the loss.
    """

    name = "embedding"
    curve = ("embedding_loss", "embedding: contrastive loss")

    size: int
    num_genres: int
    temperature: float

    @classmethod
    def from_context(cls, context: OutputContext) -> Self:
        heads = context.heads
        return cls(
            heads.embedding_size, len(context.genres), heads.embedding_temperature, weight=context.get_weight(cls.name)
        )

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size, "num_genres": self.num_genres, "temperature": self.temperature}

    @property
    def num_columns(self) -> int:
        return self.size

    @property
    def target_spec(self) -> tuple[str, int]:
        return "uint8", self.num_genres

    @cached_property
    def loss(self) -> "keras.losses.Loss":
        from tasks.outputs.losses import SupervisedContrastive

        return SupervisedContrastive(self.temperature)

    @cached_property
    def metrics(self) -> "list[keras.metrics.Metric]":
        return []

    def build(self, hidden: "keras.KerasTensor") -> "keras.KerasTensor":
        import keras

        projection = keras.layers.Dense(self.num_columns, name="projection")(hidden)
        return keras.layers.UnitNormalization(name=self.name)(projection)

    def read_targets(self, films: Films) -> NDArray[np.uint8]:
        return films.genre_targets
