"""TensorBoard's logs, read by its own classes."""

from pathlib import Path

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray


def read_values(folder: Path, plugin: str) -> dict[str, list[tuple[int, NDArray[np.float32]]]]:
    """Returns the steps and values of all series of one plugin, `scalars` or `pr_curves`, by their name."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        name: [(event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(name)]
        for name in events.Tags()["tensors"]
        if events.SummaryMetadata(name).plugin_data.plugin_name == plugin
    }


def read_embedding(folder: Path) -> EmbeddingInfo:
    """Returns the only entry of `projector_config.pbtxt`."""
    (embedding,) = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    return embedding
