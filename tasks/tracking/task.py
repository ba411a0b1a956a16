"""The tracking stage: TensorBoard logs of a published model."""

import logging
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_folder
from tasks.dataset.task import Dataset
from tasks.model_folder import ModelFolder
from tasks.posters.ledger import iterate_posters
from tasks.tracking.projector import choose_rows, write_projector
from tasks.tracking.scores import write_test_scores
from tasks.training.embedding import embed_pieces, make_embed
from tasks.training.examples import read_examples
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)


@task(name="write TensorBoard logs", cache_policy=NO_CACHE)
def write_logs(
    model: ModelFolder, dataset: Dataset, trained: TrainedHead, posters_dir: Path, folder: Path, *, with_posters: bool
) -> Path:
    """Writes a model's TensorBoard logs: learning curves, scores of the test split, and the projector's files.

    Args:
        model: The published model.
        dataset: Data set of the model.
        trained: Its head.
        posters_dir: Folder of the poster parts.
        folder: Folder in which the model gets one of its own, with the runs `train`, `validation` and `test`.
        with_posters: Whether the projector shows posters, `evaluation.thumbnails`.

    Returns:
        The model's own folder.
    """
    predictions = pq.read_table(model.predictions_path).to_pandas()
    with atomic_folder(folder / model.id) as partial:
        shutil.copytree(trained.folder / "tensorboard", partial, dirs_exist_ok=True)
        write_test_scores(partial / "test", model.read_metrics(), predictions, trained.best_epoch)
        vectors, films = _describe_films(dataset, trained, predictions)
        posters = dict(iterate_posters(posters_dir, set(films["imdb_id"]))) if with_posters else {}
        write_projector(
            partial / "test",
            vectors,
            films.drop(columns="imdb_id"),
            [posters[imdb_id] for imdb_id in films["imdb_id"]] if with_posters else None,
        )
    logger.info("tracking: tensorboard --logdir %s", folder)
    return folder / model.id


def _describe_films(
    dataset: Dataset, trained: TrainedHead, predictions: pd.DataFrame
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Returns embeddings of test films, which the head has not learned from, and what the projector tells of each."""
    test = read_examples(dataset, trained.features_folder, "test", trained.num_views)
    chosen = test.take(choose_rows(len(test)))
    embed = make_embed(keras.saving.load_model(trained.head_path))
    titles = pq.read_table(dataset.films_path, columns=["imdb_id", "title"], filters=[("split", "==", "test")])
    films = chosen.films[["imdb_id", "year"]].merge(titles.to_pandas(), on="imdb_id").merge(predictions, on="imdb_id")
    names = np.array(dataset.genres, object)
    given, predicted = (
        [names[np.asarray(row) == 1].tolist() for row in films[name]] for name in ("targets", "predicted")
    )
    described = pd.DataFrame(
        {
            "imdb_id": films["imdb_id"],
            "title": films["title"],
            "year": films["year"].where(films["year"] > 0, "").astype(str),
            # The projector has colours for few values, and films have hundreds of combinations.
            "first genre": [genres[0] if genres else "" for genres in given],
            "genres": ["|".join(genres) for genres in given],
            "predicted": ["|".join(genres) for genres in predicted],
        }
    )
    return np.concatenate(list(embed_pieces(embed, chosen.features))), described
