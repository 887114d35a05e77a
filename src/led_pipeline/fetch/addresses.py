"""Addresses: URLs that do not show their secrets.

A URL may hold a name and a password (`https://user:secret@host/`) or a token in its query (`?sig=...`). An `Address` is
asked for with them, and shown, logged and recorded without: everything but `Address.url` leaves them out.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

HIDDEN = "..."
_USER = re.compile(r"(?<=://)[^/\s'\"?#]*@")
_QUERY = re.compile(r"(?<=[\w/.%~=-])\?[^\s'\"<>)]+")


@dataclass(frozen=True)
class Address:
    """A URL; its string is what may be shown of it."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        query = HIDDEN if parts.query else ""
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def origin(self) -> tuple[str, str | None, int | None]:
        """The scheme, host and port: what a request's headers are meant for. Empty for what is not a URL."""
        try:
            parts = urlsplit(self.url)
            return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError:
            return "", None, None

    def beside(self, name: str) -> "Address":
        """Return the address of a file in the folder that this one is; a query stays."""
        parts = urlsplit(self.url)
        return Address(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def hide(self, text: str) -> str:
        """Return a text, such as a library's error, without this URL's secrets and those of any other URL in it."""
        parts = urlsplit(self.url)
        secrets = {parts.netloc.rpartition("@")[0], parts.password or "", parts.query}
        secrets |= {unquote(secret) for secret in secrets}
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return _QUERY.sub(f"?{HIDDEN}", _USER.sub("", text))
