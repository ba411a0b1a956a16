"""Some weeks of the year that `make year` runs whole."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tasks.errors import RegistryError
from tasks.registry.models import list_models
from tasks.settings import FeatureSettings

pytestmark = pytest.mark.backbone


@pytest.fixture(scope="module")
def year_module() -> ModuleType:
    """The script, which is in no package."""
    path = Path(__file__).parents[1] / "year" / "year.py"
    spec = importlib.util.spec_from_file_location("year", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["year"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plan(year_module: ModuleType) -> None:
    weeks = year_module.plan_year(30)
    assert [week.number for week in weeks] == list(range(1, 31))
    assert {week.number: week.event for week in weeks if week.event} == {
        10: "shrunk",
        14: "outage",
        19: "bad",
        23: "new version",
    }
    assert [week.num_films for week in weeks[8:11]] == [168, 140, 172]
    assert {week.version for week in weeks[:22]} == {0}
    assert {week.version for week in weeks[22:]} == {1}


@pytest.mark.recovery
def test_three_weeks(
    year_module: ModuleType, prefect_server: None, wheel_settings: FeatureSettings, tmp_path: Path
) -> None:
    features = wheel_settings.model_copy(update={"engine": "tensorflow"})
    year = year_module.Year(tmp_path, features, num_films=120)
    plan = [(100, ""), (100, "outage"), (100, "")]
    weeks = [year_module.Week(number, *week) for number, week in enumerate(plan, start=1)]
    first, outage, same = year_module.run_year(year, weeks)
    assert first["verdict"].startswith("champion: ")
    assert (first["films"], first["models"]) == (99, 1)  # one of a hundred addresses is dead
    assert first["champion"] == first["store's champion"]
    assert "/MovieGenre.csv can't be read: " in outage["verdict"]
    assert same["verdict"] == "up to date"
    kept = ("films", "test", "models", "champion", "store's champion")
    assert [[line[name] for name in kept] for line in (outage, same)] == [[first[name] for name in kept]] * 2

    # What does not hold is noticed.
    splits = dict(year._splits)
    year._splits[next(iter(splits))] = "another"
    with pytest.raises(AssertionError, match="moved from another to"):
        year.check()
    year._splits = splits
    (model,) = list_models(year.settings.artifacts_dir)
    stored = year.store / "models" / model.id / "labels.json"
    stored.write_bytes(b"[" + stored.read_bytes()[1:].upper())
    with pytest.raises(RegistryError, match=r"labels.json: it differs from its manifest"):
        year.check()
