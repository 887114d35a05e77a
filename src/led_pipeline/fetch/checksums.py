"""Checksums: a file against its published size and checksum, or against those of its first download.

Where nothing was published, the first download's size and SHA-256 are written to a record, and every later one has to
match it. Records are small JSON files that lie beside the dataset's source files; deleting one accepts another file.
"""

from datetime import date
from pathlib import Path
from typing import Any

from led_pipeline.fetch.sources import Source
from led_pipeline.files.atomic import write_json
from led_pipeline.files.digests import digest
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json

GZIP = b"\x1f\x8b"


class Expected:
    """What a file must be: the published size and checksum, or those of the record, or not known yet."""

    def __init__(self, source: Source, records: Path) -> None:
        self.record = records / f"{source.served_as}.json"
        self._source = source
        seen = self._read_record() if not source.verified and self.record.exists() else {}
        self.bytes: int | None = source.bytes or seen.get("bytes")
        self.checksums: dict[str, str] = source.checksums or {k: seen[k] for k in ("sha256",) if k in seen}
        self._recorded = seen.get("recorded")

    def _read_record(self) -> dict[str, Any]:
        seen = read_json(self.record)
        numbers = isinstance(seen, dict) and (type(seen.get("bytes")), type(seen.get("sha256"))) == (int, str)
        if not numbers:
            raise InputError(f"{self.record}: expected bytes and sha256 of a first download; delete this file")
        return seen

    @property
    def known(self) -> bool:
        """Whether there is a checksum, so that a file put together wrongly cannot go unnoticed."""
        return bool(self.checksums)

    def check_size(self, size: int, origin: str) -> None:
        """Raise an `InputError` that names `origin` if this is not the expected number of bytes."""
        if self.bytes is not None and size != self.bytes:
            raise InputError(f"{origin}: expected {self.bytes:,} bytes{self._by()}, got {size:,}{self._how()}")

    def check(self, path: Path, origin: str) -> None:
        """Raise an `InputError` that names `origin` unless a file has the expected size, checksum and kind."""
        self.check_size(path.stat().st_size, origin)
        for algorithm, value in self.checksums.items():
            if (got := digest(path, algorithm)) != value:
                name = {"md5": "MD5", "sha256": "SHA-256"}[algorithm]
                raise InputError(f"{origin}: expected {name} {value}{self._by()}, got {got}{self._how()}")
        if not self.known and self._source.served_as.endswith(".gz"):
            with path.open("rb") as file:
                start = file.read(40)
            if not start.startswith(GZIP):
                raise InputError(f"{origin}: expected a gzip file, got one that starts with {start!r}")

    def remember(self, path: Path, url: str) -> None:
        """Record a file that has passed its check and whose checksum was not known; do nothing otherwise."""
        if self.known:
            return
        name = self._source.served_as
        seen: dict[str, Any] = {"file": name, "url": url, "bytes": path.stat().st_size, "sha256": digest(path)}
        write_json(self.record, seen | {"recorded": date.today().isoformat()})
        print(
            f"{name}: no published checksum to compare with; {seen['bytes']:,} bytes with SHA-256 {seen['sha256']}"
            f" are recorded in {self.record}, and from now on no other file is accepted",
            flush=True,
        )

    def _by(self) -> str:
        return f" as recorded on {self._recorded} in {self.record}" if self._recorded else ""

    def _how(self) -> str:
        if not self._recorded:
            return ""
        return f"; if the publisher has changed the file and you want the new one, delete {self.record} and start again"
