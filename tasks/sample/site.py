"""Make the sample: posters, and a MovieGenre.csv with the defects of the published one."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np

from tasks.atomic import atomic_folder, write_text
from tasks.catalog.reading import COLUMNS
from tasks.sample.drawing import LOOKS, draw_poster

# Probability of a film's first genre; further genres are uniform. The last two get too few posters to be learned.
_SHARES = {
    "Comedy": 0.24,
    "Drama": 0.22,
    "Action": 0.16,
    "Horror": 0.13,
    "Romance": 0.10,
    "Sci-Fi": 0.08,
    "Animation": 0.05,
    "Western": 0.01,
    "Film-Noir": 0.01,
}
_WORDS = (
    *("Night", "Étoile", "River", "Doña", "Summer", "Noël", "Orbit", "Señor", "Promise", "Blood", "Paper", "Ângelo"),
    *("Last", "Silent", "Golden", "Über", "Broken", "Lucky", "Iron", "Wild", "Second", "Hollow", "Café", "Blue"),
)
_FIRST_ID = 100_000


def make_site(folder: Path, num_films: int = 1200, seed: int = 0) -> None:
    """Draws the posters of the sample into `folder/posters`, unless they exist already.

    Of every sixty films, one has the same image as the film before it, and one has no poster: its address returns 404.

    Args:
        folder: Folder of the sample; it appears whole or not at all.
        num_films: Number of usable films; `write_catalog` adds unusable rows.
        seed: Seed of films and posters.
    """
    description = {"num_films": num_films, "seed": seed, "looks": sorted(LOOKS), "version": 1}
    about = folder / "sample.json"
    if about.exists() and json.loads(about.read_text("utf-8"))["description"] == description:
        return
    rng = np.random.default_rng(seed)
    with atomic_folder(folder) as partial:
        (partial / "posters").mkdir()
        films = []
        for index in range(num_films):
            title, genres = _invent_film(rng)
            poster = partial / "posters" / f"{_FIRST_ID + index}.jpg"
            if index % 60 == 1:
                # The same image as the film before it, as of a re-release, with possibly other genres.
                shutil.copy(poster.with_stem(str(_FIRST_ID + index - 1)), poster)
            elif index % 60 != 59:
                poster.write_bytes(draw_poster(title, genres, rng))
            score = f"{rng.normal(6.3, 1.1):.1f}" if rng.random() < 0.9 else ""
            films.append([str(_FIRST_ID + index), title, score, "|".join(genres)])
        (partial / "sample.json").write_text(json.dumps({"description": description, "films": films}), "utf-8")


def write_catalog(folder: Path, base_url: str) -> Path:
    """Writes `folder/MovieGenre.csv`, in ISO-8859-1.

    Besides the films it has rows with a blank Genre, with a blank Poster, of genre Adult, and repeated ones.

    Args:
        folder: Folder of the sample.
        base_url: Address under which `folder` is served.

    Returns:
        The path of the file.
    """
    films = json.loads((folder / "sample.json").read_text("utf-8"))["films"]
    rows = [_row(imdb_id, title, score, genres, base_url) for imdb_id, title, score, genres in films]
    num_unusable = max(1, len(films) // 100)
    blank_genre = [[*row[:4], "", row[5]] for row in _renumbered(rows[:num_unusable], 900_000)]
    blank_poster = [[*row[:5], ""] for row in _renumbered(rows[:num_unusable], 910_000)]
    adult = [[*row[:4], "Adult|Drama", row[5]] for row in _renumbered(rows[:num_unusable], 920_000)]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows, *blank_genre, *blank_poster, *adult])
    csv.writer(table, lineterminator="\n").writerows(rows[-num_unusable:])
    path = folder / "MovieGenre.csv"
    write_text(path, table.getvalue(), encoding="iso-8859-1")
    return path


def _invent_film(rng: np.random.Generator) -> tuple[str, list[str]]:
    names = list(_SHARES)
    shares = np.array(list(_SHARES.values()))
    genres = [str(rng.choice(names, p=shares / shares.sum()))]
    genres += [names[int(rng.integers(len(names) - 2))] for _ in range(rng.choice(3, p=[0.45, 0.4, 0.15]))]
    words = rng.choice(_WORDS, 2, replace=False)
    return f"{' '.join(words)} ({rng.integers(1950, 2018)})", sorted(set(genres))


def _row(imdb_id: str, title: str, score: str, genres: str, base_url: str) -> list[str]:
    link = f"http://www.imdb.com/title/tt{imdb_id}"
    return [imdb_id, link, title, score, genres, f"{base_url}/posters/{imdb_id}.jpg"]


def _renumbered(rows: list[list[str]], offset: int) -> list[list[str]]:
    return [[str(offset + index), *row[1:]] for index, row in enumerate(rows)]
