"""Guard: every answer gets strict security headers, and requests under a foreign host name are refused.

A web page elsewhere could make its own domain name point to this computer (DNS rebinding) and read the answers. Such a
request has that name in its Host header; ours have an IP address, localhost or a name that the user allowed.
"""

from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def host_name(header: str) -> str:
    """Return the name or address of a Host header in small letters, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()


def is_address(name: str) -> bool:
    """Return whether a host name is an IP address."""
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        name = host_name(Headers(scope=scope).get("host", ""))
        app = self._app if name in self._hosts or is_address(name) else _refuse(name)
        await app(scope, receive, send_with_headers)


def _refuse(name: str) -> ASGIApp:
    return PlainTextResponse(
        f"This page answers under localhost and IP addresses, not under {name!r}. To allow this name, start it with"
        f" led serve --allow-host {name}\n",
        status_code=421,
    )
