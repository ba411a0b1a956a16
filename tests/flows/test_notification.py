import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.states import Running
from webhook import Webhook, listen

from flows.notification import notify, notify_of_model
from flows.train import train
from flows.watching import crash_killed_runs
from tasks.model_folder import ModelFolder
from tasks.settings import NotifySettings, Settings


@pytest.fixture(scope="module")
def webhook(prefect_server: None) -> Any:
    with listen() as webhook:
        yield webhook


@pytest.fixture
def block(webhook: Webhook) -> str:
    webhook.received.clear()
    return webhook.save_block("team")


def test_subject_and_body_without_secrets_and_control_characters(webhook: Webhook, block: str) -> None:
    assert notify(block, "run a failed", "at https://u:pw@host/f.csv?sig=s3cr3t \x1b[2J\nline two")
    assert webhook.received == [
        {
            "subject": "poster-genres: run a failed",
            "body": "at https://***@host/f.csv?sig=*** \N{REPLACEMENT CHARACTER}[2J\nline two",
        }
    ]


def warn(caplog: pytest.LogCaptureFixture, block: str) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "flows"):
        assert not notify(block, "subject", "body")
    (record,) = caplog.records
    line = record.getMessage()
    assert "\n" not in line
    assert line.startswith(f"no notification was sent by {block} (notify.block): ")
    return line


def test_what_fails_is_one_warning_without_the_secret_of_the_address(
    webhook: Webhook, block: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert "Unable to find block document named none" in warn(caplog, "custom-webhook/none")
    assert "Unable to find block document" in warn(caplog, "no-such-type/none")
    webhook.status = 404
    line = warn(caplog, block)
    webhook.status = 200
    assert "HTTPStatusError: Client error '404 Not Found' for url 'http://127.0.0.1:" in line
    assert "secretpath" not in line
    Secret(value="x").save("word", overwrite=True, _sync=True)
    assert "it is a block of another kind" in warn(caplog, "secret/word")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        closed = Webhook(f"http://127.0.0.1:{sock.getsockname()[1]}/services/secretpath")
    line = warn(caplog, closed.save_block("closed"))
    assert "ConnectError" in line
    assert "secretpath" not in line


def test_blocks_of_apprise(webhook: Webhook, block: str, caplog: pytest.LogCaptureFixture) -> None:
    """Slack's takes any of apprise's addresses. Its failures are told, which apprise itself does not raise."""
    SlackWebhook(url=webhook.address.replace("http:", "json:")).save("team", overwrite=True, _sync=True)
    assert notify("slack-webhook/team", "subject", "body")
    (received,) = webhook.received
    assert (received["title"], received["message"]) == ("poster-genres: subject", "body")
    webhook.status = 500
    with caplog.at_level(logging.WARNING, "flows"):
        assert not notify("slack-webhook/team", "subject", "body")
    webhook.status = 200
    line = next(record.getMessage() for record in caplog.records if record.name == "flows.notification")
    assert "NotificationError" in line
    assert "500" in line
    assert "secretpath" not in caplog.text


def test_a_run_that_fails(webhook: Webhook, block: str, tmp_path: Path) -> None:
    settings = {"data_dir": str(tmp_path / "data"), "catalog": {"source": "none.csv"}, "notify": {"block": block}}
    state = train(settings, return_state=True)  # type: ignore[arg-type]
    assert state.is_failed()
    (received,) = webhook.received
    assert received["subject"].startswith("poster-genres: run ")
    assert received["subject"].endswith(" ended as Failed")
    assert received["body"].startswith("CatalogError: ")
    assert f" on {socket.gethostname()}" in received["body"]
    # An override names the block, or none.
    for name, count in ((None, 0), (block, 1)):
        webhook.received.clear()
        given = {**settings, "notify": {"block": "custom-webhook/other" if name else block}}
        train(given, {"notify": {"block": name}}, return_state=True)  # type: ignore[arg-type]
        assert len(webhook.received) == count


def test_a_run_that_was_killed(webhook: Webhook, block: str) -> None:
    @flow
    def killed(settings: Settings) -> None:
        pass

    settings = Settings(notify=NotifySettings(block=block))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(killed, parameters={"settings": settings.model_dump(mode="json")}, state=Running())
    crash_killed_runs([str(run.id)])
    crash_killed_runs([str(run.id)])  # it is marked already
    (received,) = webhook.received
    assert received["subject"] == f"poster-genres: run {run.name} ended as Crashed"
    assert "a later run found its lock" in received["body"]
    assert str(run.id) in received["body"]  # in the address of its page


def make_model(folder: Path, model_id: str, reasons: str, metrics: dict[str, Any]) -> ModelFolder:
    path = folder / "models" / model_id
    path.mkdir(parents=True)
    gate = {"allowed": False, "made_champion": False, "reasons": reasons, "checks": []}
    (path / "manifest.json").write_text(json.dumps({"id": model_id, "gate": gate, "files": {}}), "utf-8")
    (path / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    return ModelFolder(path)


REASONS = "macro-F1 against the champion's: 0.400 against 0.500"
DRIFT = {"drift": {"against": "first", "warnings": ["Drama: 0.5 of the films, 0.2 now", "greyer posters"]}}


@pytest.mark.parametrize(
    ("champion", "before", "is_new", "metrics", "subject", "lines"),
    [
        ("first", "first", False, DRIFT, None, []),
        (
            "first",
            "first",
            True,
            {},
            "new was refused",
            [REASONS, "the champion is first; to change that: poster-genres promote new --artifacts {folder}"],
        ),
        (None, None, True, {}, "new was refused", ["the champion is still none"]),
        ("new", "first", True, {}, "new is champion", [f"before: first\n{REASONS}"]),
        ("new", None, True, {}, "new is champion", ["before: none"]),
        ("new", "new", True, {}, None, []),
        ("new", "new", True, DRIFT, "drift against first", [*DRIFT["drift"]["warnings"]]),
        ("new", "new", True, {"drift": {"against": "first", "warnings": []}}, None, []),
        ("first", "first", True, DRIFT, "new was refused; drift against first", [REASONS, "greyer posters"]),
        ("pulled", "first", False, {}, "pulled is champion", ["before: first\n\nrun"]),
    ],
)
def test_what_a_run_found(
    webhook: Webhook,
    block: str,
    tmp_path: Path,
    champion: str | None,
    before: str | None,
    is_new: bool,
    metrics: dict[str, Any],
    subject: str | None,
    lines: list[str],
) -> None:
    model = make_model(tmp_path, "new", REASONS, metrics)
    if champion:
        (tmp_path / "champion.json").write_text(json.dumps({"id": champion}), "utf-8")
    settings = Settings(artifacts_dir=tmp_path, notify=NotifySettings(block=block))
    notify_of_model(settings, model, before, is_new=is_new)
    notify_of_model(Settings(artifacts_dir=tmp_path), model, before, is_new=is_new)  # no block: nothing
    if subject is None:
        assert webhook.received == []
        return
    (received,) = webhook.received
    assert received["subject"] == f"poster-genres: {subject}"
    for line in lines:
        assert line.format(folder=tmp_path) in received["body"]
