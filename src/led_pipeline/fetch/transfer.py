"""Download one URL into a .part file that a later attempt or a later process can resume.

A transfer is resumed only if the received bytes and the rest belong to the same file: the server's entity tag or date
shows that, or a known checksum will. Otherwise the transfer starts over.
"""

import errno
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO
from urllib.request import url2pathname

import requests
from requests import exceptions
from urllib3.exceptions import HTTPError, InvalidHeader, ReadTimeoutError
from urllib3.util import Retry

from led_pipeline.fetch.addresses import Address
from led_pipeline.fetch.progress import Progress, megabytes
from led_pipeline.fetch.user_headers import PrivateHeadersSession
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import check_regular, read_json

CHUNK = 1 << 18
SLOWEST = 1 << 14  # bytes per `stall_s`; a slower connection counts as stalled
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
# Errors that no second attempt can fix.
HOPELESS = (
    exceptions.InvalidSchema,
    exceptions.InvalidURL,
    exceptions.MissingSchema,
    exceptions.SSLError,
    exceptions.TooManyRedirects,
)
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class NoRoom(InputError):
    """The disk is too small, so another mirror would not help."""


class Interrupted(Exception):
    """An attempt failed, but a later one may succeed; the message says how it failed."""

    def __init__(self, fault: str, wait_s: float | None = None) -> None:
        super().__init__(fault)
        self.wait_s = wait_s  # the delay that the server requested


@dataclass(frozen=True)
class Patience:
    """How long and how often to try one URL."""

    attempts: int = 6  # consecutive attempts without progress
    backoff_s: float = 1.0  # before the second attempt, then doubled
    longest_backoff_s: float = 60.0
    longest_wait_s: float = 600.0  # the longest Retry-After of a server that is respected
    connect_s: float = 30.0
    stall_s: float = 60.0


@dataclass(frozen=True)
class Part:
    """The received part of a file, with a note beside it about its origin."""

    path: Path

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> dict[str, Any]:
        """The URL, total size, entity tag and date that came with the first byte; empty if there is no part."""
        note = read_json(self._note) if self.size and self._note.exists() else {}
        complete = isinstance(note, dict) and note.keys() >= {"url", "total", "etag", "modified"}
        return note if complete else {}

    def begin(self, note: dict[str, Any]) -> None:
        """Start over with a new note."""
        self.clear()
        write_json(self._note, note)

    def clear(self) -> None:
        """Delete the part and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


@dataclass(frozen=True)
class FileSpec:
    """What is known about a file before its transfer, and the checks to run once its size is known."""

    headers: dict[str, str] = field(default_factory=dict)  # for the requested host, not for one it redirects to
    has_checksum: bool = False
    bytes: int | None = None
    check_size: Callable[[int, str], None] = lambda size, origin: None  # raises an InputError
    make_room: Callable[[int, int], None] = lambda total, missing: None  # raises NoRoom


def transfer(url: Address, part: Part, spec: FileSpec, patience: Patience) -> bool:
    """Fetch the missing bytes of a part; return whether the part joins bytes of several responses.

    Raises:
        InputError: the URL does not serve such a file, or not within the patience; the received bytes are kept.
        NoRoom: the disk is full or too small.
    """
    if url.parts.scheme == "file":
        _copy_local(url, part, spec)
        return False
    resumed, failures = part.size > 0, 0
    with PrivateHeadersSession(spec.headers) as session:
        while True:
            before = part.size
            try:
                with _as_interruption(url, patience):
                    _attempt(session, url, part, spec, patience)
                return resumed
            except Interrupted as fault:
                failures = 1 if part.size > before else failures + 1
                resumed = True
                wait_s = _pause(url, fault, failures, patience)
                print(f"{url}: {fault}; attempt {failures + 1} in {wait_s:.0f} s", file=sys.stderr, flush=True)
                sleep(wait_s)


def _pause(url: Address, fault: Interrupted, failures: int, patience: Patience) -> float:
    """Return the seconds to wait before the next attempt, or raise an `InputError` to give up."""
    if failures >= patience.attempts:
        raise InputError(f"{url}: gave up after {failures} attempt(s) without progress, the last one: {fault}")
    if fault.wait_s is None:
        return min(patience.backoff_s * 2 ** (failures - 1), patience.longest_backoff_s)
    if fault.wait_s > patience.longest_wait_s:
        limit = f"more than the limit of {patience.longest_wait_s:.0f} s"
        raise InputError(f"{url}: {fault}, and the server asks to wait {fault.wait_s:.0f} s, {limit}")
    return fault.wait_s


@contextmanager
def _as_interruption(url: Address, patience: Patience) -> Iterator[None]:
    """Turn errors of requests and urllib3 into `Interrupted`, or into `InputError` where retrying is useless."""
    try:
        yield
    except HOPELESS as error:
        raise InputError(f"{url}: {_reason(error, url)}") from None
    except exceptions.ConnectTimeout:
        raise Interrupted(f"no connection within {patience.connect_s:g} s") from None
    except (exceptions.ReadTimeout, ReadTimeoutError) as error:
        raise Interrupted(f"the server was silent for {patience.stall_s:g} s") from error
    except (requests.RequestException, HTTPError) as error:
        raise Interrupted(_reason(error, url)) from None


def _reason(error: Exception, url: Address) -> str:
    """Return the innermost reason of a requests error, whose own text repeats host and URL several times."""
    inner = error
    while causes := [cause for cause in (getattr(inner, "reason", None), *inner.args) if isinstance(cause, Exception)]:
        inner = causes[0]
    return url.hide(f"{type(error).__name__}: {str(inner).rpartition('): ')[2] or inner}")


def _attempt(session: requests.Session, url: Address, part: Part, spec: FileSpec, patience: Patience) -> None:
    """Request the missing bytes once and append them to the part."""
    note, start = part.note, part.size
    if start and note.get("total") == start:
        return
    byte_range = _range(url, note, start, spec.has_checksum)
    headers = {"Accept-Encoding": "identity"} | spec.headers | byte_range
    timeout = (patience.connect_s, patience.stall_s)
    with session.get(url.url, stream=True, timeout=timeout, headers=headers) as response:
        _check_status(url, response, bool(byte_range), part)
        if response.status_code == requests.codes.partial_content:
            total = _continued(url, response, part, spec.has_checksum)
        else:
            if byte_range:
                reason = "it ignores ranges, or the file has changed"
                print(f"{url}: the server sends the whole file again ({reason})", file=sys.stderr, flush=True)
            start, total = 0, _content_length(response)
            if total is None:
                total = spec.bytes
            else:
                spec.check_size(total, str(url))
            tag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
            part.begin({"url": str(url), "total": total, "etag": tag, "modified": modified})
        spec.make_room(total or 0, (total or 0) - start)
        _receive(response, part, Progress(part.path.stem, start, total), patience)
    if total is not None and part.size != total:
        raise Interrupted(f"the connection was closed after {part.size:,} of {total:,} bytes")


def _range(url: Address, note: dict[str, Any], start: int, has_checksum: bool) -> dict[str, str]:
    """Return the headers that request only the rest, or none if the part cannot be resumed."""
    if not start or not note:
        return {}
    tag = note["etag"] if note["etag"] and not note["etag"].startswith("W/") else None
    if note["url"] != str(url) or not (tag or note["modified"]):
        return {"Range": f"bytes={start}-"} if has_checksum and note["total"] else {}
    return {"Range": f"bytes={start}-", "If-Range": tag or note["modified"]}


def _check_status(url: Address, response: requests.Response, has_range: bool, part: Part) -> None:
    """Raise unless the status is one that carries the file, or the rest of it if the request has a range."""
    status = response.status_code
    if status in TRANSIENT:
        retry_after = response.headers.get("Retry-After")
        try:
            wait_s = None if retry_after is None else Retry().parse_retry_after(retry_after)
        except InvalidHeader:
            wait_s = None
        raise Interrupted(f"HTTP {status} {response.reason}", wait_s)
    if status == requests.codes.requested_range_not_satisfiable and has_range:
        part.clear()
        raise Interrupted("the server has no such range of the file, so it has changed; starting over")
    if status != requests.codes.ok and not (has_range and status == requests.codes.partial_content):
        raise InputError(f"{url}: expected HTTP 200, got {status} {response.reason}")


def _continued(url: Address, response: requests.Response, part: Part, has_checksum: bool) -> int | None:
    """Return the total size after checking that the sent rest belongs to the part; some servers ignore If-Range."""
    note, match = part.note, RANGE.fullmatch(response.headers.get("Content-Range", ""))
    fits = match is not None and int(match[1]) == part.size and match[2] in (str(note["total"]), "*")
    # Tags and dates of different servers are not comparable.
    noted = {"ETag": note["etag"], "Last-Modified": note["modified"]} if note["url"] == str(url) else {}
    same = [response.headers[name] == value for name, value in noted.items() if value and name in response.headers]
    if not fits or not all(same) or not (same or has_checksum):
        part.clear()
        raise Interrupted("the file has changed on the server since the transfer began; starting over")
    total: int | None = note["total"]
    return total


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _receive(response: requests.Response, part: Part, progress: Progress, patience: Patience) -> None:
    """Append the body of a response to the part, unbuffered, so that a killed process loses nothing."""
    window, received = monotonic(), 0
    with part.path.open("ab", buffering=0) as file:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            _write(file, chunk)
            progress.add(len(chunk))
            received += len(chunk)
            if monotonic() - window > patience.stall_s:
                if received < SLOWEST:
                    raise Interrupted(f"only {received:,} bytes in {patience.stall_s:g} s")
                window, received = monotonic(), 0
    progress.report()


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        while chunk:
            chunk = chunk[file.write(chunk) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        size = megabytes(Path(file.name).stat().st_size)
        raise NoRoom(
            f"{file.name}: {error.strerror} after {size} MB; free some space and rerun, the received bytes are kept"
        ) from error


def _copy_local(url: Address, part: Part, spec: FileSpec) -> None:
    """Copy the file that a file: URL names."""
    path = Path(url2pathname(url.parts.path))
    try:
        total = check_regular(path, "a file that can be read") if path.exists() else path.stat().st_size
        spec.check_size(total, str(url))
        spec.make_room(total, total)
        part.clear()
        progress = Progress(part.path.stem, 0, total)
        with path.open("rb") as source, part.path.open("wb", buffering=0) as file:
            while chunk := source.read(CHUNK):
                _write(file, chunk)
                progress.add(len(chunk))
        progress.report()
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file") from error
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{url}: {error.strerror}, expected a file that can be read") from error
