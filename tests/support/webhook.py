"""A webhook on loopback, and a block of Prefect's that sends to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prefect.blocks.notifications import CustomWebhookNotificationBlock


@dataclass
class Webhook:
    """A running server.

    Attributes:
        address: Its address.
        received: Each notification, with `subject` and `body`.
        status: Status of its answers.
    """

    address: str
    received: list[dict[str, str]] = field(default_factory=list)
    status: int = 200

    def save_block(self, name: str) -> str:
        """Saves a block on the current Prefect server, and returns its type and name."""
        block = CustomWebhookNotificationBlock(
            name=name, url=self.address, json_data={"subject": "{{subject}}", "body": "{{body}}"}, timeout=5
        )
        block.save(name, overwrite=True, _sync=True)
        return f"custom-webhook/{name}"


@contextmanager
def listen() -> Iterator[Webhook]:
    """Runs the server during the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            webhook.received.append(json.loads(content))
            self.send_response(webhook.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook = Webhook(f"http://127.0.0.1:{server.server_port}/services/secretpath")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield webhook
        server.shutdown()
