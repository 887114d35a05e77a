"""URLs that do not reveal their secrets in messages, logs and records.

A URL may hold a user name and a password (`https://user:secret@host/`) or a token in its query (`?sig=...`). Requests
use the full `Address.url`; everything else about an `Address` leaves the secrets out.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

HIDDEN = "..."
_USER = re.compile(r"(?<=://)[^/\s'\"?#]*@")
_QUERY = re.compile(r"(?<=[\w/.%~=-])\?[^\s'\"<>)]+")


@dataclass(frozen=True)
class Address:
    """A URL; `str()` returns it without secrets."""

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
        """Scheme, host and port, which decide where a request's headers may go; empty if this is not a URL."""
        try:
            parts = urlsplit(self.url)
            return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError:
            return "", None, None

    def beside(self, name: str) -> "Address":
        """Return the address of a file in this folder, with the same query."""
        parts = urlsplit(self.url)
        return Address(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def hide(self, text: str) -> str:
        """Remove this URL's secrets, and those of any other URL, from a text such as a library's error."""
        parts = urlsplit(self.url)
        secrets = {parts.netloc.rpartition("@")[0], parts.password or "", parts.query}
        secrets |= {unquote(secret) for secret in secrets}
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return _QUERY.sub(f"?{HIDDEN}", _USER.sub("", text))
