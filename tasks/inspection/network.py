"""The network of a published model: its parts, its layers and its taps, read from `classifier.keras`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras

# The classes of the layers that Keras has to know.
import tasks.outputs.labels  # noqa: F401
from tasks.errors import RegistryError, one_line
from tasks.export.views import CutViews
from tasks.features.image_size import ImageSize
from tasks.hashing import find_damage
from tasks.model_folder import ModelFolder

_MAX_SHOWN = 200  # characters of an error of Keras


@dataclass(frozen=True)
class Tap:
    """An inner layer whose statistic over the picture is a feature.

    Attributes:
        layer: Name of the layer.
        statistic: `mean` or `std`.
        size: Height and width of its maps.
        num_columns: Number of its channels, each of which gives one feature.
    """

    layer: str
    statistic: str
    size: ImageSize
    num_columns: int


@dataclass(frozen=True)
class Network:
    """A published model and its parts.

    Attributes:
        classifier: The whole model, from pixels to labels.
        backbone: From pixels to features; frozen.
        head: From features to the outputs; trained.
        num_views: Number of views over which predictions are averaged.
    """

    classifier: keras.Model
    backbone: keras.Model
    head: keras.Model
    num_views: int

    @property
    def image_size(self) -> ImageSize:
        """Height and width of the input."""
        height, width = self.backbone.input.shape[1:3]
        return height, width

    @property
    def num_parameters(self) -> int:
        return int(self.classifier.count_params())

    @property
    def num_trained(self) -> int:
        """Number of parameters that training changes; the rest is frozen."""
        return sum(int(weight.shape.num_elements()) for weight in self.classifier.trainable_weights)

    @property
    def outputs(self) -> dict[str, int]:
        """Number of columns of each output of the classifier, 1 for those without columns."""
        return {
            name: tensor.shape[1] if len(tensor.shape) > 1 else 1 for name, tensor in self.classifier.output.items()
        }

    @property
    def maps(self) -> dict[str, tuple[int, int, int]]:
        """Height, width and number of channels of each layer of the backbone that has maps."""
        return {layer.name: layer.output.shape[1:] for layer in self.backbone.layers if len(layer.output.shape) == 4}

    def list_taps(self) -> list[Tap]:
        """Returns the inner layers whose statistics are features, in the order of the features."""
        producers = {
            id(tensor): operation
            for operation in self.backbone.operations
            for tensor in keras.tree.flatten(operation.output)
        }
        joined = producers[id(self.backbone.output)]
        if not isinstance(joined, keras.layers.Concatenate):
            return []
        taps = []
        for tensor in joined.input[1:]:  # the first is the average of the last layer
            statistic = producers[id(tensor)]
            height, width, num_columns = statistic.input.shape[1:]
            layer = producers[id(statistic.input)]
            taps.append(Tap(layer.name, type(statistic).__name__.lower(), (height, width), num_columns))
        return taps


def open_network(model: ModelFolder) -> Network:
    """Loads `classifier.keras` of a published model, and finds its parts.

    Raises:
        RegistryError: The file is missing, differs from the manifest, or is no model that this version knows.
    """
    path = model.keras_path
    expected = model.read_manifest()["files"].get(path.name)
    if expected is None:
        raise RegistryError(f"{model.path} has no {path.name}: pull or publish the model again")
    if problem := find_damage(path, expected):
        raise RegistryError(f"{path} {problem}: pull the model again")
    try:
        classifier = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError) as error:
        raise RegistryError(
            f"{path} can't be loaded by Keras {keras.__version__}: {one_line(error)[:_MAX_SHOWN]}. Inspect it with the "
            f"versions of {model.versions_path.name}, or publish the model again"
        ) from error
    network = find_parts(classifier)
    if network is None:
        raise RegistryError(f"{path} is not a classifier of posters: expected a backbone and a head in it")
    return network


def find_parts(classifier: keras.Model) -> Network | None:
    """Returns a classifier with its parts; None if it has no backbone or no head."""
    parts = list(_iterate_models(classifier))
    backbone, head = _find_part(parts, keras.layers.Conv2D), _find_part(parts, keras.layers.Dense)
    if backbone is None or head is None:
        return None
    num_views = next((layer.num_views for layer in classifier.layers if isinstance(layer, CutViews)), 1)
    return Network(classifier, backbone, head, num_views)


def _iterate_models(model: keras.Model) -> Iterator[keras.Model]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield layer
            yield from _iterate_models(layer)


def _find_part(models: Sequence[keras.Model], kind: type) -> keras.Model | None:
    """Returns the first of some models that has a layer of a kind itself, not in a model within it."""
    return next((model for model in models if any(isinstance(layer, kind) for layer in model.layers)), None)
