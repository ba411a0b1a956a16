import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.features import cache
from tasks.features.backbone import Backbone
from tasks.features.embedding import Embedder, make_embedder
from tasks.features.task import EmbedPlan, embed_part, plan_embedding
from tasks.posters import ledger
from tasks.sample.drawing import draw_poster
from tasks.settings import FeatureSettings

pytestmark = pytest.mark.backbone


@pytest.fixture(scope="module")
def embed(backbone: Backbone) -> Embedder:
    return make_embedder(backbone, FeatureSettings())


@pytest.fixture(scope="module")
def posters() -> list[bytes]:
    return [draw_poster("A (1999)", ["Drama"], np.random.default_rng(seed)) for seed in range(5)]


def row(imdb_id: int, content: bytes | None) -> dict[str, object]:
    return {
        "imdb_id": imdb_id,
        "url": "u",
        "status": ledger.OK if content else ledger.FAILED,
        "attempts": 1,
        "sha256": content and hashlib.sha256(content).hexdigest(),
        "seconds": 0.0,
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
        "content": content,
    }


def test_nothing_is_embedded_twice(backbone: Backbone, embed: Embedder, posters: list[bytes], tmp_path: Path) -> None:
    posters_dir, folder = (
        tmp_path / "posters",
        cache.cache_dir(tmp_path / "features", backbone.fingerprint, backbone.taps),
    )
    parts = [ledger.part_path(posters_dir, part) for part in (0, 1)]
    # One picture twice in a part, and one in both parts.
    ledger.update_part(parts[0], [row(1, posters[0]), row(2, posters[1]), row(3, posters[1]), row(4, None)])
    ledger.update_part(parts[1], [row(5, posters[1]), row(6, posters[2])])

    hashes = [hashlib.sha256(poster).hexdigest() for poster in posters]
    plans = plan_embedding(posters_dir, folder)
    assert plans == [EmbedPlan(parts[0], frozenset(hashes[:2])), EmbedPlan(parts[1], frozenset(hashes[2:3]))]
    for plan in plans:
        embed_part.fn(plan, folder, embed)
    assert plan_embedding(posters_dir, folder) == []

    ledger.update_part(parts[0], [row(7, posters[3])])
    (plan,) = plan_embedding(posters_dir, folder)
    assert plan == EmbedPlan(parts[0], frozenset(hashes[3:4]))
    embed_part.fn(plan, folder, embed)

    assert sum(pq.read_metadata(path).num_rows for path in folder.iterdir()) == 4
    kept = {
        sha256: row for names, rows in cache.iterate_features(folder) for sha256, row in zip(names, rows, strict=True)
    }
    np.testing.assert_allclose([kept[sha256] for sha256 in hashes[:4]], embed(posters[:4]), atol=5e-3)


@pytest.mark.real_posters
def test_real_posters(embed: Embedder, real_posters: Path) -> None:
    posters = [path.read_bytes() for path in sorted((real_posters / "posters").iterdir())[:16]]
    features = embed(posters)
    # Averages of ReLU6 layers: none below 0 or over 6, few of them 0, and no two posters alike.
    assert features.min() >= 0
    assert features.max() <= 6
    assert 0.1 < features.mean() < 1.0
    assert len(np.unique(features.round(3), axis=0)) == 16
