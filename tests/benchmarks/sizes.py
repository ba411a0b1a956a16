"""A plan on paper: bytes, requests, core-hours and store operations of a first run, by the number of posters.

`python tests/benchmarks/sizes.py` writes sizes.md. The rates are measured, and each has its source beside it; the rest
is arithmetic.
"""

import math
from collections.abc import Callable
from pathlib import Path

SIZES = (40_000, 400_000, 1_000_000, 100_000_000)

# Of the real posters, 7,820 of some 182 by 268 pixels.
POSTER_BYTES = 14_600
# Features of one view: 1,280 of the last layer, and those of the recipe's taps, as float16.
FEATURE_BYTES = {"fast": 5_700, "default": 6_800}
# Views that the training split, and the others, have.
VIEWS = {"fast": 1.0, "default": 2.0}

# All rates are those of check_sizes.py with 400,000 posters, recipe `fast`, on two cores of an AMD EPYC; on another day
# such a machine took two to four times as long.
#
# Per core and second, of all processes of a run on a cluster with a store, the tasks of Prefect and the requests to the
# store among them. Without a store, one process downloads 760 a second and writes shards at 245 MB/s
# (docs/benchmarks.md).
DOWNLOADS, RECORDS = 400_000 / 336, 400_000 / 278
# Images in all their views. `default` takes so many times as long: docs/benchmarks.md.
FEATURES = {"fast": 400_000 / 1_798, "default": 400_000 / 1_798 * 73 / 246}
# Seconds of one process with two cores for a poster: heads alone, without baselines and folds, at 20 or 30 epochs. The
# ratio of the recipes is that of 6,253 posters, 10 and 42 s.
TRAINING = {"fast": 220 / 400_000, "default": 220 / 400_000 * 42 / 10}

# Seconds of one process with two cores for evaluation, export, publication and logs: of 7,820 posters (runners.py), and
# what 400,000 take beyond that.
REST, REST_POSTER = 15, 0.00024

# What the pipeline makes: tasks/posters/segments.py, tasks/settings.py.
SEGMENT_POSTERS, PART_POSTERS, SHARD_BYTES = 256, 1_000, 32_000_000
NUM_PICTURES = 256 + 1_000  # of tasks/export/task.py and tasks/tracking/projector.py
SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}

# Dollars, of the class of prices that most stores have: a million PUT and LIST, a million GET, a GB for a month.
PRICES = {"PUT": 5.0, "GET": 0.4, "GB": 0.023}


def count_parts(num_posters: int) -> int:
    """Returns the number of poster parts, as `ledger.choose_num_parts` does."""
    num_parts = 1
    while num_posters > num_parts * PART_POSTERS * 1.5:
        num_parts *= 2
    return num_parts


def count_segments(num_posters: int) -> int:
    """Returns the number of segments after one run."""
    return count_parts(num_posters) * math.ceil(num_posters / count_parts(num_posters) / SEGMENT_POSTERS)


def count_shards(num_posters: int) -> int:
    """Returns the number of shards of all splits, as `shards.count_shards` does."""
    sizes = [num_posters * share * POSTER_BYTES / SHARD_BYTES for share in SPLITS.values()]
    return sum(1 << max(0, math.ceil(math.log2(size))) for size in sizes)


def count_puts(num_posters: int) -> int:
    """Returns the writes of a first run on a cluster.

    Each segment, shard and file of features, and the result of each part and shard. Of 400,000 posters that is 3,840; a
    run had 4,093, those of the model, of manifests and of the lease, each 15 s, among them.
    """
    return count_segments(num_posters) + count_parts(num_posters) + 4 * count_shards(num_posters)


def count_gets(num_posters: int) -> int:
    """Returns the reads of a first run on a cluster.

    The ledger's columns of a segment are three ranges; each split's shards copy the segment; the result of each part
    and shard is looked for; shards are copied; of a file of features two ranges are read; of the segments with the
    pictures of the checks and the projector, three.
    """
    per_segment = 3 + len(SPLITS)
    pictures = 3 * min(NUM_PICTURES, 2 * count_segments(num_posters))
    return (
        per_segment * count_segments(num_posters) + count_parts(num_posters) + 5 * count_shards(num_posters) + pictures
    )


def describe(number: float) -> str:
    """Returns a number with two digits."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{float(f'{number / size:.2g}'):g}{unit}"
    return f"{float(f'{number:.2g}'):g}"


def make_rows(num_posters: int) -> dict[str, str]:
    """Returns the figures of one size."""

    def hours(seconds: float) -> str:
        return describe(seconds / 3600)

    rows: dict[str, Callable[[], str]] = {
        "requests to hosts": lambda: describe(num_posters),
        "posters, GB": lambda: describe(num_posters * POSTER_BYTES / 1e9),
        "shards, GB": lambda: describe(num_posters * POSTER_BYTES * 1.01 / 1e9),
        "hours of one host at 100 requests/s": lambda: hours(num_posters / 100),
        "downloads, core-hours": lambda: hours(num_posters / DOWNLOADS),
        "posters read for the shards, GB": lambda: describe(num_posters * POSTER_BYTES * len(SPLITS) / 1e9),
        "shards, core-hours": lambda: hours(num_posters / RECORDS),
    }
    for recipe in ("fast", "default"):
        rows |= {
            f"features, GB, `{recipe}`": lambda recipe=recipe: describe(
                num_posters * FEATURE_BYTES[recipe] * VIEWS[recipe] / 1e9
            ),
            f"features, core-hours, `{recipe}`": lambda recipe=recipe: hours(num_posters / FEATURES[recipe]),
            f"training, hours of one machine, `{recipe}`": lambda recipe=recipe: hours(num_posters * TRAINING[recipe]),
        }
    rows |= {
        "evaluation, export and logs, hours of one machine": lambda: hours(REST + num_posters * REST_POSTER),
        "parts, segments, shards": lambda: ", ".join(
            describe(count(num_posters)) for count in (count_parts, count_segments, count_shards)
        ),
        "writes to the store (PUT)": lambda: describe(count_puts(num_posters)),
        "reads from it (GET)": lambda: describe(count_gets(num_posters)),
        "requests to the store, $": lambda: describe(
            (count_puts(num_posters) * PRICES["PUT"] + count_gets(num_posters) * PRICES["GET"]) / 1e6
        ),
        "posters and shards, $ a month": lambda: describe(num_posters * POSTER_BYTES * 2 / 1e9 * PRICES["GB"]),
    }
    return {name: make() for name, make in rows.items()}


def render() -> str:
    """Returns the table."""
    columns = [make_rows(num_posters) for num_posters in SIZES]
    lines = ["| a first run | " + " | ".join(f"{size:,}" for size in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(render(), "utf-8")
