"""The comparison of two models' statistics: all figures, the warnings, and what could not be compared."""

from collections.abc import Iterator
from typing import Any

from tasks.drift.embeddings import MIN_SAMPLE_SIZE, measure_energy
from tasks.drift.failures import Hosts, compare_hosts, compare_new_films
from tasks.drift.figures import Figure, Share, Unit, compare_distributions, compare_numbers, compare_shares
from tasks.drift.samples import Samples
from tasks.drift.statistics import Predictions, Statistics
from tasks.settings import DriftSettings

_SIZE_UNITS: dict[str, Unit] = {"bytes": "bytes", "width": "pixels", "height": "pixels"}


class Comparison:
    """The figures of the present data beside the champion's.

    Args:
        before: Statistics of the champion.
        after: Statistics of the new model.
        settings: Bounds.
    """

    def __init__(self, before: Statistics, after: Statistics, settings: DriftSettings) -> None:
        self._before = before
        self._after = after
        self._settings = settings
        self.figures: list[Figure] = []
        self.missing: list[str] = []

    def compare(self, samples: Samples | None, new_films: Hosts | None, by_champion: Predictions | None) -> None:
        """Adds all figures that both models have, and a line for each that one of them lacks.

        Args:
            samples: Embeddings of both; None, if there are none that can be compared.
            new_films: Films of the catalog that the champion's lacked; None, if they are not known.
            by_champion: The champion's predictions for the test films of today; None, if there are none.
        """
        self.figures += self._compare_films()
        self.figures += self._compare_sizes()
        self.figures += self._compare_hosts(new_films)
        self.figures += self._compare_embeddings(samples)
        self.figures += self._compare_predictions(by_champion)

    def as_dict(self) -> dict[str, Any]:
        """Returns `warnings`, a line for each figure that exceeds; `not_compared`, lines; and `figures`."""
        return {
            "warnings": [figure.describe() for figure in self.figures if figure.exceeds],
            "not_compared": self.missing,
            "figures": [figure.as_dict() for figure in self.figures],
        }

    def _compare_films(self) -> Iterator[Figure]:
        before, after = self._before, self._after
        bound, setting = self._settings.max_films_change, "max_films_change"
        if before.num_catalog_films and after.num_catalog_films:
            numbers = before.num_catalog_films, after.num_catalog_films
            yield compare_numbers("films", "of the catalog", *numbers, bound, setting)
        yield compare_numbers("films", "with a poster", before.num_films, after.num_films, bound, setting)
        # A genre that an older model did not learn may have been in its catalog all the same.
        genres = {**before.genres, **after.genres} if before.has_all_genres else before.genres
        for genre in genres:
            yield self._compare_share("genre", genre, before.genres.get(genre, 0), after.genres.get(genre, 0))
        if before.decades is None or after.decades is None:
            self.missing.append("decades: the champion lacks the years of its films")
            return
        for decade in sorted(before.decades.keys() | after.decades.keys()):
            yield self._compare_share("decade", decade, before.decades.get(decade, 0), after.decades.get(decade, 0))

    def _compare_share(self, group: str, name: str, before: int, after: int) -> Figure:
        return compare_shares(
            group,
            name,
            Share(before, self._before.num_films),
            Share(after, self._after.num_films),
            factor=self._settings.max_share_factor,
            deviations=self._settings.noise_deviations,
            setting="max_share_factor",
        )

    def _compare_sizes(self) -> Iterator[Figure]:
        before, after = self._before.sizes, self._after.sizes
        for name, unit in _SIZE_UNITS.items():
            if name in before and name in after:
                yield compare_distributions(
                    "poster",
                    name,
                    before[name],
                    after[name],
                    unit=unit,
                    bound=self._settings.max_size_distance,
                    deviations=self._settings.noise_deviations,
                    setting="max_size_distance",
                )
            else:
                self.missing.append(f"poster {name}: not known of {_lacks(name in before)}")

    def _compare_hosts(self, new_films: Hosts | None) -> Iterator[Figure]:
        before, after = self._before.hosts, self._after.hosts
        if before is None or after is None:
            self.missing.append(f"hosts and failures: not known of {_lacks(before is not None)}")
            return
        yield from compare_hosts(before, after, self._settings)
        if new_films is None:
            self.missing.append("failures of new films: which films are new is not known")
            return
        yield from compare_new_films(before, after, new_films, self._settings)

    def _compare_embeddings(self, samples: Samples | None) -> Iterator[Figure]:
        if samples is None:
            self.missing.append("features of the posters: the champion has none, or those of other layers")
        elif min(len(samples.before), len(samples.after)) < MIN_SAMPLE_SIZE:
            self.missing.append(f"features of the posters: fewer than {MIN_SAMPLE_SIZE} films")
        else:
            yield _compare_samples(samples, self._settings)

    def _compare_predictions(self, by_champion: Predictions | None) -> Iterator[Figure]:
        before, after, settings = self._before.predictions, self._after.predictions, self._settings
        if before is None or after is None:
            self.missing.append(f"predictions: not known of {_lacks(before is not None)}")
            return
        if by_champion is None:
            self.missing.append("predictions by the champion: it has learned from all films, or from other features")
        else:
            yield compare_distributions(
                "confidence",
                "of the first genre",
                before.top_confidence,
                by_champion.top_confidence,
                unit="confidence",
                bound=settings.max_confidence_distance,
                deviations=settings.noise_deviations,
                setting="max_confidence_distance",
            )
            yield from _compare_predicted(
                "predicted", before, by_champion, settings.max_predicted_factor, "max_predicted_factor", settings
            )
        if self._before.dataset == self._after.dataset:
            self.missing.append("predictions by the new model: the films are the same, only the training differs")
        elif before.recipe != after.recipe:
            self.missing.append("predictions by the new model: its recipe is another than the champion's")
        else:
            factor, setting = settings.max_retrained_factor, "max_retrained_factor"
            yield from _compare_predicted("predicted by the new model", before, after, factor, setting, settings)


def _compare_predicted(
    group: str, before: Predictions, after: Predictions, factor: float, setting: str, settings: DriftSettings
) -> Iterator[Figure]:
    for genre in sorted(before.predicted.keys() & after.predicted.keys()):
        yield compare_shares(
            group,
            genre,
            Share(before.predicted[genre], before.num_films),
            Share(after.predicted[genre], after.num_films),
            factor=factor,
            deviations=settings.noise_deviations,
            setting=setting,
        )


def _compare_samples(samples: Samples, settings: DriftSettings) -> Figure:
    distance, noise = measure_energy(samples.before, samples.after, settings.noise_deviations)
    return Figure(
        group="posters",
        name=f"by their {samples.space}",
        before=None,
        after=None,
        unit="distance",
        change=distance,
        noise=noise,
        bound=settings.max_embedding_distance,
        setting="max_embedding_distance",
        about=f"{len(samples.before):,} and {len(samples.after):,} films",
    )


def _lacks(champion_has_it: bool) -> str:
    return "this model" if champion_has_it else "the champion"
