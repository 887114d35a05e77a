"""Download one published file into a dataset's source folder and check its size and checksum.

Run as `python -m led_pipeline.fetch.download --sources config/sources.yaml --name NAME --archives DIR --records DIR
--out FILE`. An unfinished download stays in the archives folder as a .part file, and the next run fetches the rest. An
archive with several of the files is kept there and downloaded once. A file that is already there, under the name that
the first URL ends with, is checked and used instead of the network, so you can put it there by hand. A file without a
published checksum must match its first download, whose checksum is in the records folder.

The environment variable LED_MIRROR names your own mirror, as an https:, http: or file: URL; it is tried first.
"""

import argparse
import errno
import fcntl
import gzip
import os
import shutil
import sys
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from led_pipeline.fetch.addresses import Address
from led_pipeline.fetch.checksums import Expected
from led_pipeline.fetch.progress import megabytes
from led_pipeline.fetch.sources import MIRROR, Source, read_source
from led_pipeline.fetch.transfer import FileSpec, NoRoom, Part, Patience, transfer
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

CHUNK = 1 << 20
UNPACKED = 4  # assumed size of an archive's member in multiples of the archive, if the list does not give it


@dataclass(frozen=True)
class Places:
    """Folders for downloads, the mirror, and how long to try."""

    archives: Path  # archives, unfinished downloads, files put there by hand
    records: Path  # checksums of first downloads, for files without a published one
    mirror: str | None = None
    patience: Patience = field(default_factory=Patience)

    def archive(self, source: Source) -> Path:
        """Return the path of a finished download, or of a file put there by hand."""
        return self.archives / source.served_as


def fetch(source: Source, places: Places, out: Path) -> tuple[Path, str]:
    """Download a file and check it; return the finished .part file and its URL without secrets.

    Raises:
        InputError: one line per URL with its error, and what to do.
        NoRoom: the disk is full or too small.
    """
    expected = Expected(source, places.records)
    part = Part(places.archive(source).with_name(f"{source.served_as}.part"))
    room = partial(_make_room, source, part, out)
    if expected.bytes:
        room(expected.bytes, expected.bytes - part.size)
    faults = []
    for url in source.urls(places.mirror):
        try:
            spec = FileSpec(source.headers_for(url), expected.has_checksum, expected.bytes, expected.check_size, room)
            _fetch_from(url, part, spec, expected, places.patience)
        except NoRoom:
            raise
        except InputError as error:
            print(error, file=sys.stderr, flush=True)
            faults.append(str(error))
            continue
        return part.path, str(url)
    raise InputError("\n  ".join([f"{source.name} could not be downloaded:", *faults, _advice(source, places)]))


def _fetch_from(url: Address, part: Part, spec: FileSpec, expected: Expected, patience: Patience) -> None:
    """Complete the part from one URL; if a resumed part turns out wrong, download it once more from the start."""
    resumed = transfer(url, part, spec, patience)
    try:
        try:
            expected.check(part.path, str(url))
        except InputError as error:
            if not resumed:
                raise
            print(f"{error}; it was joined from several transfers, so it is downloaded again", file=sys.stderr)
            part.clear()
            transfer(url, part, spec, patience)
            expected.check(part.path, str(url))
    except InputError:
        part.clear()
        raise


def _advice(source: Source, places: Places) -> str:
    return (
        f"what to do: rerun later (a download resumes where it stopped); or put the file at {places.archive(source)}"
        f" yourself; or set {MIRROR} to the URL of a folder that has {source.served_as}"
    )


def _make_room(source: Source, part: Part, out: Path, total: int, missing: int) -> None:
    """Raise `NoRoom` unless the rest of a download and the file unpacked from it fit on their disks."""
    needs = [(part.path.parent, missing)]
    if source.member is not None:
        needs.append((out.parent, source.unpacked_bytes or UNPACKED * total))
    elif out.parent.stat().st_dev != part.path.parent.stat().st_dev:
        needs.append((out.parent, total))
    require(source.name, needs)


def require(name: str, needs: Iterable[tuple[Path, int]]) -> None:
    """Raise `NoRoom` unless every disk has the free bytes that its folders need together."""
    disks: dict[int, list[tuple[Path, int]]] = defaultdict(list)
    for folder, size in needs:
        disks[folder.stat().st_dev].append((folder, size))
    for uses in disks.values():
        total, free = sum(size for _, size in uses), shutil.disk_usage(uses[0][0]).free
        if total > free:
            parts = ", ".join(f"{megabytes(size)} MB in {folder}" for folder, size in uses)
            raise NoRoom(
                f"{name}: needs {megabytes(total)} MB of disk ({parts}), {megabytes(free)} MB are free there;"
                " free some space, or put the results folder on another disk, then rerun"
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that one of several jobs downloads their common archive while the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def extract(archive: Path, member: str, out: Path, verify: bool = True) -> None:
    """Publish one file of a tar.gz archive; a leading ./ in the archive's names does not matter.

    Args:
        verify: read the archive to the end, so that gzip verifies its checksum; unnecessary if the archive has
            already been checked against a published one.
    """
    names = []
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for entry in tar:
                if entry.isfile() and PurePosixPath(entry.name) == PurePosixPath(member):
                    require(member, [(out.parent, entry.size)])
                    with atomic(out) as temporary, temporary.open("wb") as file:
                        content = tar.extractfile(entry)
                        assert content is not None  # None is for folders and links; `entry` is a file
                        shutil.copyfileobj(content, file, CHUNK)
                        while verify and unpacked.read(CHUNK):
                            pass
                    return
                names.append(entry.name)
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, gzip.BadGzipFile) as error:
        raise InputError(f"{archive}: expected a tar.gz archive ({error}); delete it and rerun") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(f"{out}: {error.strerror} while unpacking; free some space and rerun") from error
    raise InputError(f"{archive}: expected a file '{member}' inside, found {', '.join(names) or 'nothing'}")


def obtain(source: Source, places: Places, out: Path) -> None:
    """Publish one file at `out`, from the archives folder if it is there, otherwise from the network."""
    archive, expected = places.archive(source), Expected(source, places.records)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(archive.with_name(f".{source.served_as}.lock")):
        url = f"{archive}, which was there"
        if archive.exists():
            try:
                expected.check(archive, str(archive))
            except InputError as error:
                advice = "delete it to download it again, or put the right file there"
                raise InputError(f"{error}; {advice}") from error
        else:
            part, url = fetch(source, places, out)
            if source.member is None:
                expected.remember(part, url)
                _move(part, out)
                return
            part.replace(archive)
            Part(part).clear()
        if source.member is None:
            expected.remember(archive, url)
            _copy(archive, out)
    if source.member is not None:
        _unpack(source, source.member, places, out, url)


def _unpack(source: Source, member: str, places: Places, out: Path, url: str) -> None:
    """Extract an archive's member, and only then record an archive without a published checksum."""
    archive = places.archive(source)
    with locked(places.archives / f".{source.name}.lock"):
        for leftover in out.parent.glob(f".{out.name}.*.part"):  # from a killed process
            leftover.unlink()
        extract(archive, member, out, verify=not source.verified)
    with locked(archive.with_name(f".{source.served_as}.lock")):
        Expected(source, places.records).remember(archive, url)


def _move(part: Path, out: Path) -> None:
    try:
        part.replace(out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(part, out)
    Part(part).clear()


def _copy(path: Path, out: Path) -> None:
    with atomic(out) as temporary:
        shutil.copyfile(path, temporary)


def main() -> None:

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="the list of files, such as config/sources.yaml")
    parser.add_argument("--name", required=True, help="the entry to fetch")
    parser.add_argument("--archives", type=Path, required=True, help="folder for archives and unfinished downloads")
    parser.add_argument("--records", type=Path, required=True, help="folder for checksums of first downloads")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = read_source(arguments.sources, arguments.name)
    print(f"{source.name}: {source.licence}", file=sys.stderr)
    obtain(source, Places(arguments.archives, arguments.records, os.environ.get(MIRROR)), arguments.out)


if __name__ == "__main__":
    run_main(main)
