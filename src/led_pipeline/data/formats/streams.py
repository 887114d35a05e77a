"""Stream the bytes of a published file: plain, gzip (.gz), zstd (.zst), or a member of a zip archive.

A path through an archive names a member, `folder.zip/corpus.jsonl`; the archive may hold it in a top-level folder, as
BEIR's do (`arguana.zip` has `arguana/corpus.jsonl`). Nothing is unpacked to disk.

Checksums are verified if the format has them (gzip and zip do, zstd may); reading to the end verifies them all.
Trailing bytes after the compressed stream count as damage.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import FREE_EXPANSION, limits, over
from led_pipeline.files.reading import check_regular, raised, reading, reason

COMPRESSED = (".gz", ".zst")
BUFFER_BYTES = 1 << 20
# What zipfile raises about an archive that it cannot read, besides BadZipFile: passwords, unknown methods, odd numbers.
_ZIP = (RuntimeError, NotImplementedError, ValueError, KeyError, IndexError)


def in_archive(path: Path | str) -> tuple[Path, str] | None:
    """Return the zip archive in a path and the rest of the path, or None if the path leads through no archive."""
    parts = Path(path).parts
    for i, part in enumerate(parts[:-1], start=1):
        if part.endswith(".zip"):
            archive = Path(*parts[:i])
            return None if archive.is_dir() else (archive, str(PurePosixPath(*parts[i:])))
    return None


def on_disk(path: Path | str) -> Path:
    """Return the file that holds the bytes: the path itself, or the archive in it."""
    inside = in_archive(path)
    return inside[0] if inside else Path(path)


def plain_name(path: Path | str) -> str:
    """Return a path without the suffix of its compression."""
    name = str(path)
    return next((name.removesuffix(end) for end in COMPRESSED if name.endswith(end)), name)


def member(archive: zipfile.ZipFile, name: str) -> str:
    """Return the full name of a member: `name` itself, or `name` inside a folder of the archive.

    The files that macOS adds to archives, under __MACOSX/, are ignored.

    Raises:
        InputError: the archive has no such member, or several.
    """
    names = [each for each in archive.namelist() if not each.startswith("__MACOSX/")]
    matches = [name] if name in names else [other for other in names if other.endswith(f"/{name}")]
    if len(matches) != 1:
        fault = f"{len(matches)} members end in '{name}'" if matches else f"no member '{name}'"
        members = ", ".join(n for n in names if not n.endswith("/"))
        raise InputError(f"{archive.filename}: {fault}, expected one; there are {members[:300]}")
    return matches[0]


def is_there(path: Path | str) -> bool:
    """Tell whether a file exists, on disk or in the archive in its path."""
    inside = in_archive(path)
    if inside is None:
        return Path(path).is_file()
    try:
        with opened_archive(inside[0]) as archive:
            return bool(member(archive, inside[1]))
    except InputError:
        return False


@contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive; errors about its directory or a member become an `InputError`."""
    check_regular(path, "a zip archive")
    with reading(path, "a zip archive without a password; download it again", also=_ZIP), zipfile.ZipFile(path) as file:
        yield file


class _GzipFile(gzip.GzipFile):
    """A gzip file that returns all intact bytes before it reports damage, so that the error names the damaged line."""

    readinto = gzip.GzipFile.readinto1


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a stream, up to the limit of its expansion."""

    def __init__(self, path: Path | str, inner: Any, packed: int, closing: ExitStack) -> None:
        self._path, self._inner, self._packed, self._closing, self._count = path, inner, packed, closing, 0
        self._read = inner.readinto1 if isinstance(inner, zipfile.ZipExtFile) else inner.readinto

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._read(buffer)
        self._count += count
        if self._count > max(FREE_EXPANSION, limits().expansion * self._packed):
            grown = f"{self._packed:,} bytes become {self._count:,} and more"
            raise InputError(f"{self._path}: {grown}, a factor of {over('expansion')}")
        return count

    def close(self) -> None:
        self._closing.close()
        super().close()


def _unpacked(path: Path | str, inside: tuple[Path, str] | None, closing: ExitStack) -> tuple[Any, int]:
    """Return a file of the decompressed bytes, which `closing` closes, and the number of compressed bytes."""
    raw: Any = None
    packed = check_regular(inside[0] if inside else path, "a text file; check the file names under `dataset`")
    if inside:
        archive = closing.enter_context(zipfile.ZipFile(inside[0]))
        name = member(archive, inside[1])
        packed = archive.getinfo(name).file_size and archive.getinfo(name).compress_size
        raw = closing.enter_context(archive.open(name))
    if str(path).endswith(".gz"):
        return closing.enter_context(_GzipFile(fileobj=raw) if raw else _GzipFile(path)), packed
    if str(path).endswith(".zst"):
        import pyarrow as pa  # slow to import, and needed only here

        source = pa.PythonFile(raw, mode="r") if raw else pa.OSFile(str(path))
        return closing.enter_context(pa.CompressedInputStream(source, "zstd")), packed
    return raw, packed


def open_bytes(path: Path | str) -> BinaryIO:
    """Open a file for reading its bytes, decompressed.

    Reading from it may raise the errors in `reading.RAISED`, and an `InputError` if it expands beyond the limit.

    Raises:
        InputError: it cannot be opened, or it is not a regular file: pipes and devices are refused.
    """
    inside = in_archive(path)
    if inside is None and plain_name(path) == str(path):
        check_regular(path, "a text file; check the file names under `dataset` in the config")
        with reading(path, "a file that can be read"):
            return Path(path).open("rb", buffering=BUFFER_BYTES)
    with ExitStack() as closing:
        with reading(path, "a complete archive without a password; download it again", also=_ZIP if inside else ()):
            raw, packed = _unpacked(path, inside, closing)
        if not packed and plain_name(path) != str(path):
            raise InputError(f"{path}: an empty file, expected a compressed one; download it again")
        return io.BufferedReader(_Unpacked(path, raw, packed, closing.pop_all()), BUFFER_BYTES)


def read_whole(path: Path | str) -> bytes:
    """Return all bytes of a file, decompressed.

    Raises:
        InputError: it is damaged, or larger than the limit for files that are read at once.
    """
    parts: list[bytes] = []
    count = 0
    with open_bytes(path) as file, damaged(path):
        while part := file.read(BUFFER_BYTES):
            parts.append(part)
            count += len(part)
            if count > limits().whole:
                raise InputError(f"{path}: a file of {over('whole')} bytes that has to be read at once")
    return b"".join(parts)


def beginning(path: Path | str, count: int) -> tuple[bytes, int]:
    """Return the first `count` bytes, decompressed, and an estimate of their total number.

    Raises:
        InputError: the file is damaged near its beginning.
    """
    inside = in_archive(path)
    with open_bytes(path) as file, damaged(path):
        head = file.read(count)
    if len(head) < count:
        return head, len(head)
    if inside:
        with opened_archive(inside[0]) as archive:
            return head, archive.getinfo(member(archive, inside[1])).file_size
    packed = Path(path).stat().st_size
    if plain_name(path) == str(path):
        return head, packed
    with damaged(path), Path(path).open("rb") as file:
        sample = file.read(count)
        return head, round(packed * _growth(sample, str(path).endswith(".zst")))


def _growth(sample: bytes, zstd: bool) -> float:
    """Return the expansion of a sample from the start of a compressed file, at most the limit."""
    most = limits().expansion * len(sample)
    if zstd:
        import pyarrow as pa

        size = 0
        with suppress(OSError), pa.CompressedInputStream(pa.BufferReader(sample), "zstd") as file:
            while size < most and (part := file.read(BUFFER_BYTES)):
                size += len(part)
        return max(size, 1) / len(sample)
    return len(zlib.decompressobj(wbits=31).decompress(sample, most)) / len(sample)


@contextmanager
def damaged(path: Path | str) -> Iterator[None]:
    """Turn the errors of reading a damaged or truncated file into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except raised() as error:
        raise damage(path, error) from error


def damage(path: Path | str, error: BaseException, line: int | None = None) -> InputError:
    """Return the error about a file whose reading failed."""
    where = f"{path}:{line}" if line else str(path)
    kind = "zip" if in_archive(path) else "zstd" if str(path).endswith(".zst") else "gzip"
    if (isinstance(error, OSError) and error.errno) or (kind == "gzip" and not str(path).endswith(".gz")):
        return InputError(f"{where}: {reason(error)}, expected a file that can be read to its end")
    return InputError(
        f"{where}: the {kind} stream is damaged or cut off here ({reason(error)}), expected a complete {kind} file;"
        " download or compress it again"
    )
