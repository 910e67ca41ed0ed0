"""Who may ask: requests by another name of this machine, or from another site's page, are refused.

A page on the web can make a reader's browser send requests to localhost. None of them may read
(so the Host must be one that was meant) and none may start or end a process (so the Origin must be
this page, and the body must be JSON, which other sites cannot send without asking first).
"""

import urllib.parse

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

LOCAL = {"localhost", "127.0.0.1", "::1"}
ANYWHERE = {"0.0.0.0", "::"}
SAFE = {"GET", "HEAD", "OPTIONS"}
LARGEST_BODY = 65_536
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'self'; form-action 'self'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


class Guard:
    """ASGI middleware of a server that listens at `host`."""

    def __init__(self, app, host: str):
        self.app = app
        self.hosts = None if host in ANYWHERE else {*LOCAL, host.lower()}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message):
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] += [(n, v) for n, v in HEADERS.items() if n not in names]
            await send(message)

        refused = self._complaint(scope["method"], Headers(scope=scope))
        if refused:
            code, sentence = refused
            await JSONResponse({"detail": sentence}, code)(scope, receive, answer)
        else:
            await self.app(scope, receive, answer)

    def _complaint(self, method: str, headers: Headers):
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return 421, f"this server does not answer to the name {host[:80]!r}"
        if method in SAFE:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        foreign = origin is not None and urllib.parse.urlsplit(origin).netloc != host
        if foreign or site not in (None, "same-origin", "none"):
            return 403, "requests that start or end something are taken from this page alone"
        if headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return 415, "the body must be JSON, with Content-Type: application/json"
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return 413, f"the body must have a Content-Length of at most {LARGEST_BODY} bytes"
        return None


def _name(host: str) -> str | None:
    """The name in a Host header, without its port and brackets."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname
    except ValueError:
        return None
