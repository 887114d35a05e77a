"""Streams: the bytes of a published file, plain, gzip (.gz), zstd (.zst), or a member of a zip archive.

A member is named by a path through its archive, `folder.zip/corpus.jsonl`; the archive may hold it in one folder of its
own, as BEIR's do (`arguana.zip` has `arguana/corpus.jsonl`). Nothing is unpacked to disk.
"""

import gzip
import io
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from led_pipeline.files import InputError

COMPRESSED = (".gz", ".zst")
BUFFER_BYTES = 1 << 20
# What reading a damaged or cut file raises; pyarrow's and gzip's OSErrors have no number, those of the system do.
DAMAGED = (EOFError, zlib.error, zipfile.BadZipFile, OSError)


def in_archive(path: Path | str) -> tuple[Path, str] | None:
    """Return the zip archive that a path leads through and the rest of the path, or None for a plain path."""
    parts = Path(path).parts
    for i, part in enumerate(parts[:-1], start=1):
        if part.endswith(".zip"):
            archive = Path(*parts[:i])
            return None if archive.is_dir() else (archive, str(PurePosixPath(*parts[i:])))
    return None


def on_disk(path: Path | str) -> Path:
    """Return the file that holds the bytes: the path itself, or the archive that it leads through."""
    inside = in_archive(path)
    return inside[0] if inside else Path(path)


def plain_name(path: Path | str) -> str:
    """Return a path without the ending that says how it is compressed."""
    name = str(path)
    return next((name.removesuffix(end) for end in COMPRESSED if name.endswith(end)), name)


def member(archive: zipfile.ZipFile, name: str) -> str:
    """Return the full name of a member: as given, or in the one folder that the archive has it in.

    Raises:
        InputError: the archive has no such member, or several.
    """
    names = archive.namelist()
    found = [name] if name in names else [other for other in names if other.endswith(f"/{name}")]
    if len(found) != 1:
        what = f"{len(found)} members end in '{name}'" if found else f"no member '{name}'"
        held = ", ".join(n for n in names if not n.endswith("/"))
        raise InputError(f"{archive.filename}: {what}, expected one; there are {held[:300]}")
    return found[0]


def is_there(path: Path | str) -> bool:
    """Tell whether a file is there, or in the archive that the path leads through."""
    inside = in_archive(path)
    if inside is None:
        return Path(path).is_file()
    try:
        with zipfile.ZipFile(inside[0]) as archive:
            return bool(member(archive, inside[1]))
    except (OSError, zipfile.BadZipFile, InputError):
        return False


class _GzipFile(gzip.GzipFile):
    """A gzip file that hands out all it can before it reports damage, so that the damaged line can be named."""

    readinto = gzip.GzipFile.readinto1


def open_bytes(path: Path | str) -> BinaryIO:
    """Open a file for reading its bytes, decompressed.

    Raises:
        InputError: it cannot be opened.
    """
    inside = in_archive(path)
    name = str(path)
    try:
        if inside:
            archive = zipfile.ZipFile(inside[0])
            raw = archive.open(member(archive, inside[1]))
            if name.endswith(".gz"):
                return io.BufferedReader(_GzipFile(fileobj=raw), BUFFER_BYTES)
            return io.BufferedReader(raw, BUFFER_BYTES)
        if name.endswith(".gz"):
            # Iterating a GzipFile calls Python once per line; a buffer on top of it does not.
            return io.BufferedReader(_GzipFile(path), BUFFER_BYTES)
        if name.endswith(".zst"):
            import pyarrow as pa  # slow to import, and only this needs it

            Path(path).stat()  # its error says no more than that the file is not there
            return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(name), "zstd"), BUFFER_BYTES)
        return Path(path).open("rb", buffering=BUFFER_BYTES)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}, expected a text file; check the file names under `dataset` in the config"
        ) from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{inside[0]}: not a zip archive ({error}); download it again") from error


def beginning(path: Path | str, count: int) -> tuple[bytes, int]:
    """Return the first `count` bytes, decompressed, and about how many there are in all."""
    inside = in_archive(path)
    with open_bytes(path) as file:
        head = file.read(count)
    if len(head) < count:
        return head, len(head)
    if inside:
        with zipfile.ZipFile(inside[0]) as archive:
            return head, archive.getinfo(member(archive, inside[1])).file_size
    packed = Path(path).stat().st_size
    if plain_name(path) == str(path):
        return head, packed
    with Path(path).open("rb") as file:
        sample = file.read(count)
    return head, round(packed * _growth(sample, str(path).endswith(".zst")))


def _growth(sample: bytes, zstd: bool) -> float:
    """Return how many bytes one byte of the beginning of a compressed file stands for."""
    if zstd:
        import pyarrow as pa

        made = 0
        with suppress(OSError), pa.CompressedInputStream(pa.BufferReader(sample), "zstd") as file:
            while part := file.read(BUFFER_BYTES):
                made += len(part)
        return max(made, 1) / len(sample)
    return len(zlib.decompressobj(wbits=31).decompress(sample)) / len(sample)


def damage(path: Path | str, error: Exception, line: int | None = None) -> InputError:
    """Return the sentence about a file whose reading failed with one of DAMAGED; an error of the system is raised."""
    if isinstance(error, OSError) and error.errno:
        raise error
    kind = "zip" if in_archive(path) else "zstd" if str(path).endswith(".zst") else "gzip"
    where = f"{path}:{line}" if line else str(path)
    return InputError(
        f"{where}: the {kind} stream is damaged or cut off here ({error}), expected a complete {kind} file; download or"
        " compress it again"
    )
