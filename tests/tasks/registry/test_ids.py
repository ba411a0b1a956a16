from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import RegistryError
from tasks.registry.ids import check_model_id, is_model_id


@pytest.mark.parametrize("name", ["20260105-060000-1a2b3c", "one", "m2", "A_1.b", "9" * 100])
def test_ids(name: str) -> None:
    assert check_model_id(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".one", "a/b", "../one", "/one", "one\n", "a\\b", "-x", "ä", "9" * 101]
)
def test_what_is_no_id(name: str) -> None:
    with pytest.raises(RegistryError, match="is not the id of a model: expected the name of a folder of models/"):
        check_model_id(name)


@given(st.text())
def test_an_id_is_one_visible_part_of_a_path(name: str) -> None:
    if is_model_id(name):
        assert Path("models", name).parts == ("models", name)
        assert not name.startswith((".", "-"))
        assert name.isascii()
