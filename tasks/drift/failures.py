"""Figures of hosts: their shares of the films, and the films without a poster by reason."""

from collections.abc import Iterator, Mapping

from tasks.drift.counts import OK, sum_failures
from tasks.drift.figures import Figure, Share, compare_rises, compare_shares
from tasks.settings import DriftSettings

# Reasons in the line of a host, at most.
_NUM_REASONS = 3

# Numbers of films by host and by result, as `tasks.drift.counts.count_hosts` returns them.
Hosts = Mapping[str, Mapping[str, int]]


def compare_hosts(before: Hosts, after: Hosts, settings: DriftSettings) -> Iterator[Figure]:
    """Yields the figures of each host: its share of the films, and of its films those without a poster.

    The failures of a host that the champion's catalog lacked are compared with those of all its hosts.
    """
    totals = [sum(sum(results.values()) for results in hosts.values()) for hosts in (before, after)]
    for host in {**before, **after}:
        parts = [sum(hosts.get(host, {}).values()) for hosts in (before, after)]
        shares = [Share(part, total) for part, total in zip(parts, totals, strict=True)]
        yield compare_shares(
            "host",
            host,
            *shares,
            factor=settings.max_share_factor,
            deviations=settings.noise_deviations,
            setting="max_share_factor",
        )
    for host, results in after.items():
        yield _compare_failures("failures of", host, _find_results(before, host), results, settings)


def compare_new_films(before: Hosts, after: Hosts, new_films: Hosts, settings: DriftSettings) -> Iterator[Figure]:
    """Yields the figure of the failures of each host's new films, which are few among all of its films."""
    for host, results in new_films.items():
        if results != after.get(host):  # otherwise all of its films are new
            yield _compare_failures("failures of new films of", host, _find_results(before, host), results, settings)


def _find_results(hosts: Hosts, host: str) -> Mapping[str, int]:
    """Returns the numbers of films by result of a host; those of all hosts together if it is a new one."""
    if host in hosts:
        return hosts[host]
    reasons = {reason for results in hosts.values() for reason in results}
    return {reason: sum(results.get(reason, 0) for results in hosts.values()) for reason in reasons}


def _compare_failures(
    group: str, host: str, before: Mapping[str, int], after: Mapping[str, int], settings: DriftSettings
) -> Figure:
    """Returns the figure of all failures; of the reason that rose most, if that is over its bound and all are not."""
    reasons = [
        (reason, Share(before.get(reason, 0), sum(before.values())), Share(number, sum(after.values())))
        for reason, number in after.items()
        if reason != OK
    ]
    reasons.sort(key=lambda item: (item[1].value - item[2].value, item[0]))
    about = ", ".join(f"{name}: {now.value:.1%}, before {was.value:.1%}" for name, was, now in reasons[:_NUM_REASONS])
    all_before, all_after = (Share(sum_failures(results), sum(results.values())) for results in (before, after))
    figure = _compare_rises(group, host, all_before, all_after, settings, about)
    if figure.exceeds or not reasons:
        return figure
    name, was, now = reasons[0]
    by_reason = _compare_rises(group, f"{host} by {name}", was, now, settings)
    return by_reason if by_reason.exceeds else figure


def _compare_rises(
    group: str, name: str, before: Share, after: Share, settings: DriftSettings, about: str = ""
) -> Figure:
    return compare_rises(
        group,
        name,
        before,
        after,
        bound=settings.max_failure_rise,
        deviations=settings.noise_deviations,
        setting="max_failure_rise",
        about=about,
    )
