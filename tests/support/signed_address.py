"""An address with a secret, and where a run could have written it."""

from pathlib import Path

import requests
from prefect.settings import PREFECT_API_URL

SECRET = "s3cr3tsignature"
SIGNED = f"X-Amz-Credential=someone&X-Amz-Signature={SECRET}"


def read_server() -> str:
    """Returns the last of all that Prefect's server has: logs, artifacts, runs with their parameters, states."""
    url = PREFECT_API_URL.value()
    names = ("logs", "artifacts", "flow_runs", "task_runs", "events")
    return "".join(requests.post(f"{url}/{name}/filter", json={"limit": 50}, timeout=30).text for name in names)


def find_secret(*folders: Path) -> list[Path]:
    """Returns the files that have it."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if SECRET.encode() in path.read_bytes()]
