import json
from pathlib import Path

import pytest

from tasks import versions
from tasks.errors import RegistryError
from tasks.model_folder import ModelFolder
from tasks.registry.models import list_models, promote, rollback
from tasks.registry.retention import PROTECTED_CHAMPIONS, prune_models

IDS = [f"202601{day:02d}-060000-0000{day:02d}" for day in range(1, 21)]


@pytest.fixture
def artifacts_dir(tmp_path: Path) -> Path:
    """Twenty models; the fourth was champion, then the first, the second, ... the seventh, which is it now."""
    for model_id in IDS:
        add_model(tmp_path, model_id)
    for number in (4, 1, 2, 3, 4, 5, 6, 7):
        promote(tmp_path, IDS[number - 1], "better")
    return tmp_path


def add_model(artifacts_dir: Path, model_id: str, **described: object) -> None:
    model = ModelFolder(artifacts_dir / "models" / model_id)
    (model.path / "saved_model").mkdir(parents=True)
    (model.path / "saved_model" / "saved_model.pb").write_bytes(b"12345")
    model.write_manifest({"id": model_id, "format": versions.MODEL, **described})


def list_days(artifacts_dir: Path) -> list[int]:
    return [IDS.index(model.id) + 1 for model in list_models(artifacts_dir)]


def test_the_newest_and_the_last_champions_stay(artifacts_dir: Path) -> None:
    assert PROTECTED_CHAMPIONS == 5
    counted = prune_models(artifacts_dir, 10, dry_run=True)
    assert list_days(artifacts_dir) == list(range(1, 21))
    freed = prune_models(artifacts_dir, 10)
    assert freed == counted
    assert list_days(artifacts_dir) == [2, 3, 4, 5, 6, 7, *range(11, 21)]
    assert [each.path.name for each in freed.removed] == [IDS[day - 1] for day in (1, 8, 9, 10)]
    assert freed.num_files == 8
    assert freed.describe().startswith("4 models: 8 files, ")
    prune_models(artifacts_dir, 3)
    assert list_days(artifacts_dir) == [2, 3, 4, 5, 6, 7, 18, 19, 20]
    assert prune_models(artifacts_dir, 3).removed == ()
    assert prune_models(artifacts_dir, None).removed == ()


def test_a_champion_for_the_second_time_is_none_of_the_five_before(artifacts_dir: Path) -> None:
    promote(artifacts_dir, IDS[5], "by hand")
    prune_models(artifacts_dir, 3)
    assert list_days(artifacts_dir) == [2, 3, 4, 5, 6, 7, 18, 19, 20]


def test_a_champion_whose_model_is_gone_breaks_no_rollback(artifacts_dir: Path) -> None:
    prune_models(artifacts_dir, 3)
    for day in (6, 5, 4, 3, 2):
        assert rollback(artifacts_dir) == IDS[day - 1]
    with pytest.raises(RegistryError, match=rf"the previous champion, {IDS[0]}, is gone: promote another model"):
        rollback(artifacts_dir)
    # Now the second is the champion, and only the first and the fourth were it before.
    prune_models(artifacts_dir, 3)
    assert list_days(artifacts_dir) == [2, 4, 18, 19, 20]


def test_rivals_of_the_newest_model_stay(artifacts_dir: Path) -> None:
    add_model(artifacts_dir, "20260201-060000-000000", gate={"rivals": [IDS[7], "20250101-060000-000000"]})
    prune_models(artifacts_dir, 3)
    assert IDS[7] in {model.id for model in list_models(artifacts_dir)}
    # Not those of models before it.
    add_model(artifacts_dir, "20260202-060000-000000", gate={"rivals": []})
    prune_models(artifacts_dir, 3)
    assert IDS[7] not in {model.id for model in list_models(artifacts_dir)}


def test_what_is_no_model_of_the_registry_stays(artifacts_dir: Path, tmp_path: Path) -> None:
    folder = artifacts_dir / "models"
    add_model(artifacts_dir, "mine")
    (folder / "20250101-060000-00000a").mkdir()  # without a manifest: half copied by somebody
    add_model(tmp_path / "elsewhere", "20250101-060000-00000b")
    (folder / "20250101-060000-00000b").symlink_to(tmp_path / "elsewhere" / "models" / "20250101-060000-00000b")
    prune_models(artifacts_dir, 3)
    left = {path.name for path in folder.iterdir()}
    assert {"mine", "20250101-060000-00000a", "20250101-060000-00000b"} <= left
    assert len(left) == 12


def test_a_folder_that_a_kill_left_is_removed(artifacts_dir: Path) -> None:
    (artifacts_dir / "models" / IDS[0]).rename(artifacts_dir / "models" / f".{IDS[0]}.0123abcd.partial")
    prune_models(artifacts_dir, 3)
    assert not list((artifacts_dir / "models").glob(".*"))


def test_nothing_is_removed_while_the_champion_is_not_known(artifacts_dir: Path) -> None:
    (artifacts_dir / "champion.json").write_text(json.dumps({"name": "?"}))
    with pytest.raises(RegistryError, match=r"champion.json does not name a model"):
        prune_models(artifacts_dir, 3)
    assert list_days(artifacts_dir) == list(range(1, 21))


def test_no_registry_is_made(tmp_path: Path) -> None:
    assert prune_models(tmp_path / "artifacts", 3).describe() == "nothing"
    assert not (tmp_path / "artifacts").exists()
