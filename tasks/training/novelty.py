"""How unlike the training posters an image is, by its features.

The Mahalanobis distance to the mean of the training posters, in the first principal components of their standardised
features (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples"; here without classes,
as a film has several genres). The embedding itself does not serve: its layer keeps what tells genres apart, and drops
what tells posters from other pictures. Inner layers serve best. docs/quality.md has the figures.
"""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tasks.features.matrix import FeatureViews
from tasks.training.head import MIN_VARIANCE

NOVELTY = "novelty"

_NUM_COMPONENTS = 64
_MIN_POSTERS_PER_COMPONENT = 6  # or the deviations are those of these posters alone
# Mean and components change little with more posters; each takes 12 KB.
_MAX_POSTERS = 8000
_ROWS_AT_ONCE = 4096
# Of the validation posters that are over the bound. The aim is 5% of all posters, and both splits are samples.
_SHARE_OVER_BOUND = 0.035
_MIN_POSTERS = 2  # of training
_MIN_BOUND = 1e-3  # deviations


@dataclass(frozen=True)
class NoveltyMeasure:
    """A linear map of features whose length is the distance, and the bound on it.

    Attributes:
        kernel: Float32, shape `(num_features, num_components)`.
        bias: Float32, shape `(num_components,)`.
        bound: Distance that only few validation posters exceed.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    bound: float = 1.0

    def measure(self, features: FeatureViews) -> NDArray[np.float32]:
        """Returns the novelty of posters, the mean of their views: the distance by the bound. Shape `(num_posters,)`.

        Args:
            features: Features, shape `(num_posters, num_features)`.
        """
        distances = np.zeros((features.num_views, len(features)), np.float32)
        for view, start in itertools.product(range(features.num_views), range(0, len(features), _ROWS_AT_ONCE)):
            rows = features.read(start, start + _ROWS_AT_ONCE, view).astype(np.float32)
            distances[view, start : start + len(rows)] = np.linalg.norm(rows @ self.kernel + self.bias, axis=1)
        novelty: NDArray[np.float32] = distances.mean(axis=0) / np.float32(self.bound)
        return novelty

    def build(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the novelty as a layer of the model, shape `(batch_size, 1)`, from the features of one view."""
        projection = keras.layers.Dense(len(self.bias), name="principal_components")
        distances = keras.ops.sqrt(keras.ops.sum(keras.ops.square(projection(features)), axis=1, keepdims=True))
        projection.set_weights([self.kernel, self.bias])
        return distances / self.bound


def fit_novelty(train: FeatureViews, validation: FeatureViews, num_last_features: int) -> NoveltyMeasure | None:
    """Returns the measure for the posters of a training split, with a bound from the validation split.

    Args:
        train: Features of the training posters, in the order of the films.
        validation: Features of the validation posters.
        num_last_features: Number of the features of the backbone's last layer, which come first. They count only where
            there are no others.

    Returns:
        The measure; None without two training posters and one to find the bound on.
    """
    if len(train) < _MIN_POSTERS or not len(validation):
        return None
    first = num_last_features if train.num_columns > num_last_features else 0
    if len(train) > _MAX_POSTERS:
        # Films are in the order of the catalog, which may be sorted.
        train = train.take_rows(np.linspace(0, len(train) - 1, _MAX_POSTERS).astype(np.int64))
    features = train.read()[:, first:].astype(np.float32)
    scaler = StandardScaler().fit(features)
    scales = np.sqrt(scaler.var_ + MIN_VARIANCE)
    standardised = (features - scaler.mean_.astype(np.float32)) / scales.astype(np.float32)
    num_posters, num_features = standardised.shape
    num_components = min(_NUM_COMPONENTS, -(-num_posters // _MIN_POSTERS_PER_COMPONENT), num_features)
    pca = PCA(num_components, svd_solver="randomized", random_state=0).fit(standardised)
    deviations = np.sqrt(pca.explained_variance_.astype(np.float64).clip(min=1e-6))
    kernel = pca.components_.T / scales[:, np.newaxis] / deviations
    bias = -(scaler.mean_ @ kernel)
    kernel = np.pad(kernel, [(first, 0), (0, 0)])
    measure = NoveltyMeasure(kernel.astype(np.float32), bias.astype(np.float32))
    bound = float(np.quantile(measure.measure(validation), 1 - _SHARE_OVER_BOUND))
    return NoveltyMeasure(measure.kernel, measure.bias, max(bound, _MIN_BOUND))
