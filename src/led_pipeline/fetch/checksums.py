"""Check a file against its published size and checksum, or against those of its first download.

If no checksum was published, the size and SHA-256 of the first download go into a record, which every later download
must match. Records are small JSON files beside the dataset's source files; deleting one accepts a different file.
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
    """The expected size and checksum of a file: published, recorded, or still unknown."""

    def __init__(self, source: Source, records: Path) -> None:
        self.record = records / f"{source.served_as}.json"
        self._source = source
        first = self._read_record() if not source.verified and self.record.exists() else {}
        self.bytes: int | None = source.bytes or first.get("bytes")
        self.checksums: dict[str, str] = source.checksums or {k: first[k] for k in ("sha256",) if k in first}
        self._recorded = first.get("recorded")

    def _read_record(self) -> dict[str, Any]:
        first = read_json(self.record)
        is_record = isinstance(first, dict) and (type(first.get("bytes")), type(first.get("sha256"))) == (int, str)
        if not is_record:
            raise InputError(f"{self.record}: expected bytes and sha256 of a first download; delete this file")
        return first

    @property
    def has_checksum(self) -> bool:
        """Whether a checksum is known, which would reveal a file joined from parts of different files."""
        return bool(self.checksums)

    def check_size(self, size: int, origin: str) -> None:
        """Raise an `InputError` that names `origin` if `size` is not the expected number of bytes."""
        if self.bytes is not None and size != self.bytes:
            raise InputError(f"{origin}: expected {self.bytes:,} bytes{self._by()}, got {size:,}{self._how()}")

    def check(self, path: Path, origin: str) -> None:
        """Raise an `InputError` that names `origin` unless a file has the expected size, checksum and kind."""
        self.check_size(path.stat().st_size, origin)
        for algorithm, value in self.checksums.items():
            if (got := digest(path, algorithm)) != value:
                name = {"md5": "MD5", "sha256": "SHA-256"}[algorithm]
                raise InputError(f"{origin}: expected {name} {value}{self._by()}, got {got}{self._how()}")
        if not self.has_checksum and self._source.served_as.endswith(".gz"):
            with path.open("rb") as file:
                start = file.read(40)
            if not start.startswith(GZIP):
                raise InputError(f"{origin}: expected a gzip file, got one that starts with {start!r}")

    def remember(self, path: Path, url: str) -> None:
        """Record the size and SHA-256 of a checked file without a known checksum; do nothing otherwise."""
        if self.has_checksum:
            return
        name, size, sha256 = self._source.served_as, path.stat().st_size, digest(path)
        first = {"file": name, "url": url, "bytes": size, "sha256": sha256, "recorded": date.today().isoformat()}
        write_json(self.record, first)
        print(
            f"{name}: no published checksum to compare with; recorded {size:,} bytes with SHA-256 {sha256} in"
            f" {self.record}, no other file will be accepted",
            flush=True,
        )

    def _by(self) -> str:
        return f" as recorded on {self._recorded} in {self.record}" if self._recorded else ""

    def _how(self) -> str:
        if not self._recorded:
            return ""
        return f"; if the publisher has changed the file and you want the new one, delete {self.record} and rerun"
