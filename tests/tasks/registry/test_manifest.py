import pytest

from tasks.errors import RegistryError
from tasks.registry.manifest import parse_manifest


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"files": {}}',
        '{"id": "x", "files": {"a": {}}}',
        '{"id": "x", "files": {"../a": {"sha256": "0", "num_bytes": 1}}}',
        '{"id": "x", "files": {"/etc/a": {"sha256": "0", "num_bytes": 1}}}',
    ],
)
def test_manifests_that_are_none(text: str) -> None:
    with pytest.raises(RegistryError, match="here is no manifest"):
        parse_manifest(text, "here")
