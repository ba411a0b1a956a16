"""An imitation of the Hugging Face Hub: `python model_hub.py FOLDER` serves a repository, and prints its port.

Only what reading needs, as `huggingface_hub` 2.4 requests it.
"""

import http.server
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40
ROOT = Path(sys.argv[1])


def describe(path: Path) -> dict[str, Any]:
    kind, size = ("directory", 0) if path.is_dir() else ("file", path.stat().st_size)
    return {"type": kind, "oid": COMMIT, "size": size, "path": path.relative_to(ROOT).as_posix()}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        name = ROOT / path.partition("/main")[2].strip("/")
        if path == "/api/models/someone/genres":
            self.answer(200, json.dumps({"id": "someone/genres", "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith("/api/models/someone/genres/tree/main") and name.is_dir():
            self.answer(200, json.dumps([describe(entry) for entry in name.iterdir()]).encode())
        elif path.startswith("/someone/genres/resolve/main/") and name.is_file():
            self.answer(200, name.read_bytes(), ETag='"1"', X_Repo_Commit=COMMIT)
        else:
            self.answer(404, b'{"error": "not found"}', X_Error_Code="EntryNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
