"""Notifications by a block of Prefect's: of runs that fail, models that are refused, drift, and new champions."""

import logging
import re
import socket
from collections.abc import Mapping
from typing import Any

import httpx
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run as current_run
from prefect.utilities.urls import url_for

from tasks.errors import one_line
from tasks.inert import for_terminal
from tasks.model_folder import ModelFolder
from tasks.registry.models import read_champion_id
from tasks.settings import Settings
from tasks.web.addresses import redact

logger = logging.getLogger(__name__)

# Of Prefect's client, of the block's own request, and of a block that is none or is set up wrongly.
_FAILURES = (NotificationError, PrefectException, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError)
# The path of a webhook's address is its secret.
_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/'\"]+)/[^\s'\"]*")


def notify(block: str, subject: str, body: str) -> bool:
    """Sends a notification. If that fails, one line in the log says so, and nothing is raised.

    Args:
        block: Type and name of a notification block, such as `slack-webhook/team`.
        subject: Subject, one line.
        body: Text; the secrets of addresses are taken out, as of the subject.

    Returns:
        Whether it was sent.
    """
    subject, body = (for_terminal(redact(text)) for text in (subject, body))
    try:
        loaded = Block.load(block, _sync=True)  # type: ignore[call-arg]
        if not isinstance(loaded, NotificationBlock):
            raise ValueError("it is a block of another kind, expected one for notifications")
        with loaded.raise_on_failure():
            loaded.notify(body, f"poster-genres: {subject}", _sync=True)  # type: ignore[call-arg, unused-coroutine]
    except _FAILURES as error:
        text = error.log.strip() if isinstance(error, NotificationError) else one_line(error)
        reason = _PATH.sub(r"\1/***", f"{type(error).__name__}: {text}")
        logger.warning("no notification was sent by %s (notify.block): %s", block, " ".join(reason.split()))
        return False
    return True


def notify_of_failure(run: FlowRun, state: State[Any], reason: str) -> None:
    """Notifies of a run that failed or crashed, if its parameters name a block.

    Args:
        run: The run.
        state: Its final state.
        reason: Reason why it ended so.
    """
    if block := _find_block(run.parameters):
        notify(block, f"run {run.name} ended as {state.name}", f"{reason}\n\n{_describe_run(run.name, run)}")


def notify_of_model(settings: Settings, model: ModelFolder, champion_before: str | None, *, is_new: bool) -> None:
    """Notifies of what a run found, if that is more than usual: a refused model, drift, another champion.

    Args:
        settings: Settings of the run.
        model: The model that the run ended with.
        champion_before: Id of the champion when the run began; None if there was none.
        is_new: Whether the run made the model.
    """
    if not settings.notify.block:
        return
    champion = read_champion_id(settings.artifacts_dir)
    findings = {}
    if champion != champion_before:
        reasons = f"\n{model.gate_reasons}" if champion == model.id else ""
        findings[f"{champion} is champion"] = f"before: {champion_before or 'none'}{reasons}"
    if is_new and champion != model.id:
        command = f"poster-genres promote {model.id} --artifacts {settings.artifacts_dir}"
        stays = f"the champion is {champion or 'still none'}; to change that: {command}"
        findings[f"{model.id} was refused"] = f"{model.gate_reasons}\n{stays}"
    drift = model.read_metrics().get("drift") or {}
    if is_new and drift.get("warnings"):
        findings[f"drift against {drift.get('against')}"] = "\n".join(drift["warnings"])
    if findings:
        texts = [f"{title}\n{text}\n" for title, text in findings.items()]
        run = _describe_run(current_run.get_name() or "", None)
        notify(settings.notify.block, "; ".join(findings), "\n".join([*texts, run]))


def _find_block(parameters: Mapping[str, Any]) -> str | None:
    """Returns the block that the parameters of a run name.

    A run with neither `settings` nor `notify` of its own, such as `demo`, leaves it to the run that it starts.
    """
    groups = [parameters.get("overrides"), parameters["settings"]] if "settings" in parameters else [parameters]
    for group in groups:
        notify = group.get("notify") if isinstance(group, Mapping) else None
        if isinstance(notify, Mapping) and "block" in notify:
            return str(notify["block"]) if notify["block"] else None
    return None


def _describe_run(name: str, run: FlowRun | None) -> str:
    address = url_for(run) if run else current_run.get_flow_run_ui_url()
    return f"run {name} on {socket.gethostname()}" + (f"\n{address}" if address else "")
