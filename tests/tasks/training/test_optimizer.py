import keras
import numpy as np

from tasks.training.optimizer import FusedAdam


def test_steps_are_those_of_keras() -> None:
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 6)
    weights = {}
    for make in (keras.optimizers.Adam, FusedAdam):
        variables = [keras.Variable(np.ones((3, 2), np.float32)), keras.Variable(np.zeros(2, np.float32))]
        optimizer = make(schedule, beta_1=0.8)
        rng = np.random.default_rng(0)
        for _ in range(5):
            gradients = [rng.normal(size=variable.shape).astype(np.float32) for variable in variables]
            optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], variables)
        weights[make] = [variable.numpy() for variable in variables]
        assert int(optimizer.iterations) == 5
    for fused, expected in zip(weights[FusedAdam], weights[keras.optimizers.Adam], strict=True):
        assert np.abs(expected).min() > 0.01
        np.testing.assert_allclose(fused, expected, rtol=1e-5)
