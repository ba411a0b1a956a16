"""Figures of two models' data side by side, each with its noise and its bound."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from tasks.drift.distributions import Distribution, find_distance_noise, measure_distance

Unit = Literal["films", "share", "bytes", "pixels", "confidence", "distance"]


@dataclass(frozen=True)
class Figure:
    """One figure of the champion's data and of the present.

    Attributes:
        group: Kind of the figure, such as `genre`.
        name: What it is of, such as `Horror`.
        before: Value of the champion; None where only the change is a number.
        after: Value now.
        unit: Unit of both values.
        change: How far the two are apart: a difference of shares, a part of a number, or a distance.
        noise: Change that two samples of the same films would hardly exceed.
        bound: Change that the settings permit.
        setting: Name of the setting of the bound.
        about: What else is to be known of it.
    """

    group: str
    name: str
    before: float | None
    after: float | None
    unit: Unit
    change: float
    noise: float
    bound: float
    setting: str
    about: str = ""

    @property
    def exceeds(self) -> bool:
        """Whether the change is over its bound and over its noise."""
        return self.change > max(self.bound, self.noise)

    @property
    def nearness(self) -> float:
        """Change as a part of what is permitted; over 1 if it exceeds."""
        limit = max(self.bound, self.noise)
        return self.change / limit if limit else 0.0

    def describe(self) -> str:
        """Returns the figure in a line: what changed, from what to what, the noise and the bound."""
        values = "" if self.after is None else f" {self.show(self.after)}, before {self.show(self.before)}"
        change, noise, bound = (self.show_change(value) for value in (self.change, self.noise, self.bound))
        about = f" ({self.about})" if self.about else ""
        line = (
            f"{self.group} {self.name}:{values}{about}; changed by {change}, noise {noise}, bound {bound} "
            f"(drift.{self.setting})"
        )
        return " ".join(line.split())

    def show(self, value: float | None) -> str:
        """Returns a value as text, in its unit; nothing for None."""
        if value is None:
            return ""
        return f"{value:.1%}" if self.unit == "share" else f"{value:,.3g}" if value < 10 else f"{value:,.0f}"

    def show_change(self, value: float) -> str:
        """Returns a change, a noise or a bound as text."""
        if self.unit == "share":
            return f"{100 * value:.1f} points"
        return f"{value:.1%}" if self.unit == "films" else f"{value:.3g}"

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values, with `exceeds`."""
        return {**vars(self), "exceeds": self.exceeds}


@dataclass(frozen=True)
class Share:
    """So many of so many films.

    Attributes:
        part: Number of films with a property.
        whole: Number of films, at least 1.
    """

    part: int
    whole: int

    @property
    def value(self) -> float:
        return self.part / self.whole

    def find_noise(self, other: Self, deviations: float) -> float:
        """Returns the difference of the two shares that is so many standard errors, were they samples of one whole."""
        pooled = (self.part + other.part) / (self.whole + other.whole)
        return deviations * math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / self.whole + 1 / other.whole))


def compare_numbers(group: str, name: str, before: int, after: int, bound: float, setting: str) -> Figure:
    """Returns the figure of a number of films; its change is a part of the number before."""
    change = abs(after - before) / max(before, 1)
    return Figure(group, name, before, after, "films", change, 0.0, bound, setting)


def compare_shares(
    group: str, name: str, before: Share, after: Share, *, factor: float, deviations: float, setting: str
) -> Figure:
    """Returns the figure of a share, which may grow or shrink by a factor."""
    bound = before.value * (factor - 1 if after.value > before.value else 1 - 1 / factor)
    noise = before.find_noise(after, deviations)
    change = abs(after.value - before.value)
    return Figure(group, name, before.value, after.value, "share", change, noise, bound, setting)


def compare_rises(
    group: str,
    name: str,
    before: Share,
    after: Share,
    *,
    bound: float,
    deviations: float,
    setting: str,
    about: str = "",
) -> Figure:
    """Returns the figure of a share that may shrink, and rise by a difference."""
    noise = before.find_noise(after, deviations)
    change = max(after.value - before.value, 0.0)
    return Figure(group, name, before.value, after.value, "share", change, noise, bound, setting, about)


def compare_distributions(
    group: str,
    name: str,
    before: Distribution,
    after: Distribution,
    *,
    unit: Unit,
    bound: float,
    deviations: float,
    setting: str,
) -> Figure:
    """Returns the figure of a distribution: its medians, and the distance as the change."""
    noise = find_distance_noise(before.num_values, after.num_values, deviations)
    distance = measure_distance(before, after)
    return Figure(group, name, before.median, after.median, unit, distance, noise, bound, setting, "medians")
