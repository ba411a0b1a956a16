import keras
import numpy as np

from tasks.outputs.embedding import EmbeddingOutput
from tasks.outputs.output import OutputContext


def test_vectors_have_length_one_and_learn_from_the_genres(context: OutputContext, films) -> None:
    output = EmbeddingOutput.from_context(context)
    assert (output.num_columns, output.target_spec) == (4, ("uint8", 2))
    np.testing.assert_array_equal(output.read_targets(films), films.genre_targets)
    hidden = keras.Input((8,))
    vectors = keras.Model(hidden, output.build(hidden))(np.random.default_rng(0).normal(size=(5, 8)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert (output.column_names, output.decode(np.zeros((2, 0), np.float32))) == ([], [{}, {}])
