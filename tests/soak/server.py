"""A poster server for the soak test: the fault of a poster is a function of its number, so any two runs meet the same.

    python tests/soak/server.py        prints its port, serves on all addresses of 127.0.0.0/8 until its input ends

`/posters/<number>.jpg`; `fault_of(number)` names what happens. Each fault has one poster in twenty.
"""

import asyncio
import hashlib
import io
import sys

from aiohttp import web
from PIL import Image

FAULTS = (
    "http 404",
    "http 410",
    "page",  # HTML with the type of an image
    "half",  # half an image, of the announced length
    "empty",
    "redirect",  # to the poster
    "private",  # redirect to a private address
    "busy",  # 503 at the first request, then the poster
    "wait",  # 429 with Retry-After: 1 at the first request, then the poster; on hosts of their own
    "cut",  # a body shorter than announced
    "hang up",
    "drip",  # a byte now and then, for ever
    "headers",  # validators that are no text; a good poster
)
# What the ledger has in the end.
REASONS = {
    "http 404": "http 404",
    "http 410": "http 410",
    "page": "not an image",
    "half": "broken image",
    "empty": "empty",
    "private": "private address",
    "cut": "connection broken",
    "hang up": "connection broken",
    "drip": "timeout",
}
NUM_WAITING_HOSTS = 50


def _draw(number: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((60, 80 + number), 60).convert("RGB").save(file, "JPEG")
    return file.getvalue()


POSTERS = [_draw(number) for number in range(50)]


def fault_of(number: int) -> str | None:
    """Returns the fault of a poster; None for a good one."""
    kind = hashlib.blake2b(f"fault {number}".encode(), digest_size=2).digest()[0] * 20 // 256
    return FAULTS[kind] if kind < len(FAULTS) else None


def poster_of(number: int) -> bytes:
    """Returns the bytes of a good poster."""
    return POSTERS[number % len(POSTERS)]


def host_of(number: int) -> str:
    """Returns the address of a poster's host: another one for those that ask to wait, which holds for a whole host."""
    return f"127.0.1.{1 + number % NUM_WAITING_HOSTS}" if fault_of(number) == "wait" else "127.0.0.1"


async def _respond(request: web.Request) -> web.StreamResponse:
    seen: set[str] = request.app["seen"]
    first = request.path not in seen
    seen.add(request.path)
    number = int(request.match_info["number"])
    poster, fault = poster_of(number), fault_of(number) if request.match_info["folder"] == "posters" else None
    if fault in ("http 404", "http 410"):
        return web.Response(status=int(fault[5:]))
    if fault == "page":
        return web.Response(body=b"<html>sign in</html>", content_type="image/jpeg")
    if fault == "half":
        return web.Response(body=poster[: len(poster) // 2])
    if fault == "empty":
        return web.Response(body=b"")
    if fault == "redirect":
        return web.Response(status=302, headers={"Location": f"/moved/{number}.jpg"})
    if fault == "private":
        return web.Response(status=302, headers={"Location": "http://10.0.0.1/1.jpg"})
    if fault == "busy" and first:
        return web.Response(status=503)
    if fault == "wait" and first:
        return web.Response(status=429, headers={"Retry-After": "1"})
    if fault in ("cut", "hang up", "drip", "headers"):
        await _respond_raw(request, fault, poster)
        return web.Response()
    return web.Response(body=poster, headers={"ETag": f'"{number}"'})


async def _respond_raw(request: web.Request, fault: str, poster: bytes) -> None:
    transport = request.transport
    if transport is None:
        return
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(poster)
    if fault == "cut":
        transport.write(head + b"\r\n" + poster[:500])
    elif fault == "headers":
        transport.write(head + b'ETag: "\xff\xfe"\r\nConnection: close\r\n\r\n' + poster)
    elif fault == "drip":
        transport.write(head + b"\r\n")
        while not transport.is_closing():
            transport.write(b"\xff")
            await asyncio.sleep(0.3)
    transport.close()


async def _serve() -> None:
    app = web.Application()
    app["seen"] = set()
    app.router.add_get(r"/{folder:posters|moved}/{number:\d+}.jpg", _respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    # Loopback addresses alone: the hosts of the catalog are all in 127.0.0.0/8.
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    for host in range(1, NUM_WAITING_HOSTS + 1):
        await web.TCPSite(runner, f"127.0.1.{host}", port).start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
