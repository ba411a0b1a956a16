"""Films that share one poster: the same image, to the byte."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class SharedPoster:
    """A poster of several films.

    Attributes:
        sha256: Hash of the image, hexadecimal.
        titles: Titles of the films, in the order of their ids.
        splits: Splits that the films are in, by name: one, or figures of the test split are of images that the model
            has learned.
    """

    sha256: str
    titles: list[str]
    splits: list[str]


def find_shared_posters(films: pd.DataFrame) -> list[SharedPoster]:
    """Returns the posters of more than one film: those that cross splits first, then those of the most films.

    Args:
        films: Films with `imdb_id`, `title`, `sha256` and `split`.
    """
    repeated = films[films.duplicated("sha256", keep=False)].sort_values("imdb_id")
    shared = [
        SharedPoster(str(sha256), group["title"].tolist(), sorted(set(group["split"])))
        for sha256, group in repeated.groupby("sha256")
    ]
    return sorted(shared, key=lambda poster: (-len(poster.splits), -len(poster.titles), poster.sha256))
