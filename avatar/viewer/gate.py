"""Who may open the viewer: viser has no access control, so every request is looked at before viser sees it.

On this machine's own address pages of other websites are kept out, which could otherwise reach a local server through
the visitor's browser: the address has to be one of this machine's own names, and a websocket has to come from the page
itself. On any other address a token is needed, once in the URL, then as a cookie that no script and no other site can
use.
"""

from __future__ import annotations

import errno
import gzip
import hmac
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from avatar.base.errors import InputError
from avatar.base.limits import Limits

if TYPE_CHECKING:
    from viser import ViserServer

PORT = Limits(0, 65535, "", "8080 is usual; 0 takes any that is free")
PORTS_TRIED = 100
SSH_LINE = "keep the default and reach it through ssh -L 8080:127.0.0.1:8080 THAT_MACHINE"
REFUSED = "Give the whole URL that avatar view printed, with its token."


@dataclass(frozen=True)
class Answer:
    """What a request gets in place of viser's answer."""

    status: HTTPStatus
    text: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Gate:
    """The rule for every request. token: None on this machine's own address."""

    token: str | None
    port: int

    def refuse(self, target: str, headers: dict[str, str]) -> Answer | None:
        """None where a request may pass, else what it gets. target: the request's path with its query. headers: names
        in lower case."""
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return Answer(HTTPStatus.FORBIDDEN, "Pages of other sites may not use the viewer.")
        if self.token is None:
            name = urlsplit(f"//{host}").hostname or ""
            return None if is_loopback(name) else Answer(HTTPStatus.FORBIDDEN, "Open it as 127.0.0.1 or localhost.")
        cookie = f"avatar_view_{self.port}"
        held = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        if any(name == cookie and _same(value, self.token) for name, _, value in held):
            return None
        given = parse_qs(urlsplit(target).query).get("token", [""])[0]
        if not _same(given, self.token):
            return Answer(HTTPStatus.FORBIDDEN, REFUSED)
        kept = f"{cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        return Answer(HTTPStatus.SEE_OTHER, "", (("Location", "/"), ("Set-Cookie", kept)))


def _silent_logger() -> logging.Logger:
    logger = logging.Logger("avatar.viewer")
    logger.addHandler(logging.NullHandler())
    return logger


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, reached from itself only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address. Port 0 takes any that is free.

    Raises ConfigError for a port out of range, InputError for one that is in use (naming a free one) or an address
    that this machine does not have.
    """
    PORT.require("--port", port)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as cause:
        if cause.errno == errno.EADDRINUSE:
            others = range(port + 1, min(port + PORTS_TRIED, 65536))
            free = next((other for other in others if _is_free(host, other)), 0)
            raise InputError(f"port {port} is in use", where=host, fix=f"take a free one: --port {free}") from cause
        raise InputError(
            "the viewer cannot listen there",
            where=f"{host}, port {port}",
            found=cause.strerror or cause,
            fix=f"give another --host or --port; for a page on another machine {SSH_LINE}",
        ) from cause


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return True
    except OSError:
        return False


def start_viser(listener: socket.socket, token: str | None, changed: Callable[[bytes], bytes]) -> ViserServer:
    """A viser server on a socket of ours, behind the gate. It prints nothing and never publishes itself.

    changed: makes what a page gets of viser's HTML.
    """
    import rich
    import viser

    rich.get_console().quiet = True  # viser prints its address, which lacks the token
    gate = Gate(token, listener.getsockname()[1])
    with _guarded(listener, gate, changed) as started:
        server = viser.ViserServer(host="127.0.0.1", port=gate.port, verbose=False)
    if not started.is_set():
        server.stop()
        raise RuntimeError("this version of viser starts its server in another way: the viewer would stand open")
    # a page's share button would publish the viewer through viser's own servers
    server.request_share_url = lambda verbose=True: None
    return server


@contextmanager
def _guarded(listener: socket.socket, gate: Gate, changed: Callable[[bytes], bytes]) -> Iterator[threading.Event]:
    """While it lasts, the server that websockets starts takes our socket, asks the gate first and changes HTML.

    viser starts its server inside itself and takes neither a socket nor a check. Yields an event that is set when a
    server was started so.
    """
    from websockets.asyncio import server as websockets_server
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    serve, started = websockets_server.serve, threading.Event()

    def guarded(handler: Any, *address: Any, process_request: Callable[..., Any], **options: Any) -> Any:
        def checked(connection: Any, request: Any) -> Any:
            headers: dict[str, str] = {}
            for name, value in request.headers.raw_items():
                headers.setdefault(name.lower(), value)
            answer = gate.refuse(request.path, headers)
            if answer is None:
                return _changed_html(process_request(connection, request), changed)
            body = answer.text.encode()
            fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
            return Response(answer.status, answer.status.phrase, Headers([*fields, *answer.headers]), body)

        started.set()
        # browsers open connections that they never use: no traceback on the terminal for each that they drop
        ours = options | {"sock": listener, "process_request": checked, "logger": _silent_logger()}
        return serve(handler, **{name: value for name, value in ours.items() if name not in ("host", "port")})

    websockets_server.serve = guarded  # type: ignore[assignment]
    try:
        yield started
    finally:
        websockets_server.serve = serve


def _changed_html(response: Any, changed: Callable[[bytes], bytes]) -> Any:
    """A response of the websockets library with its HTML changed; any other, and None, as it is."""
    if response is None or not response.headers.get("Content-Type", "").startswith("text/html"):
        return response
    packed = response.headers.get("Content-Encoding") == "gzip"
    body = changed(gzip.decompress(response.body) if packed else response.body)
    response.body = gzip.compress(body, 1) if packed else body
    del response.headers["Content-Length"]  # a second value would stand beside the first
    response.headers["Content-Length"] = str(len(response.body))
    return response
