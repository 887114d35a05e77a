"""Download: one published file into a dataset's source folder, checked against its size and checksum.

Run as `python -m led_pipeline.fetch.download --sources config/sources.yaml --name NAME --archives DIR --records DIR
--out FILE`. What is not finished stays in the archives folder as a .part file, and the next run fetches the rest. An
archive that holds several of the files is kept there and downloaded once. What already lies there under the name that
the first URL ends with is checked and used instead of the network, so a file can be put there by hand. A file without a
published checksum is held to that of its first download, which stands in the records folder.

The environment variable LED_MIRROR names a folder of your own, as an https:, http: or file: URL, to look in first.
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
from led_pipeline.fetch.transfer import NoRoom, Part, Patience, Wanted, transfer
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

CHUNK = 1 << 20
UNPACKED = 4  # how many times its size an archive's member is taken to have where nobody knows


@dataclass(frozen=True)
class Places:
    """Where things lie, and how long to try."""

    archives: Path  # archives, unfinished downloads, files put there by hand
    records: Path  # the checksums of files that nobody publishes a checksum of
    mirror: str | None = None
    patience: Patience = field(default_factory=Patience)

    def kept(self, source: Source) -> Path:
        return self.archives / source.served_as


def fetch(source: Source, places: Places, out: Path) -> tuple[Path, str]:
    """Download a file and check it; return the finished .part file and the URL that it came from, without secrets.

    Raises:
        InputError: one line per URL with what was wrong, and what to do.
        NoRoom: the disk is full or too small.
    """
    expected = Expected(source, places.records)
    part = Part(places.kept(source).with_name(f"{source.served_as}.part"))
    room = partial(_make_room, source, part, out)
    if expected.bytes:
        room(expected.bytes, expected.bytes - part.size)
    faults = []
    for url in source.urls(places.mirror):
        try:
            wanted = Wanted(source.headers_for(url), expected.known, expected.bytes, expected.check_size, room)
            _fetch_from(url, part, wanted, expected, places.patience)
        except NoRoom:
            raise
        except InputError as error:
            print(error, file=sys.stderr, flush=True)
            faults.append(str(error))
            continue
        return part.path, str(url)
    raise InputError("\n  ".join([f"{source.name} could not be downloaded:", *faults, _advice(source, places)]))


def _fetch_from(url: Address, part: Part, wanted: Wanted, expected: Expected, patience: Patience) -> None:
    """Complete the part from one URL; where a part that was continued turns out wrong, once more from the start."""
    resumed = transfer(url, part, wanted, patience)
    try:
        try:
            expected.check(part.path, str(url))
        except InputError as error:
            if not resumed:
                raise
            print(f"{error}; it was put together from several transfers, so once more from the start", file=sys.stderr)
            part.clear()
            transfer(url, part, wanted, patience)
            expected.check(part.path, str(url))
    except InputError:
        part.clear()
        raise


def _advice(source: Source, places: Places) -> str:
    return (
        f"what to do: start again later (a download goes on where it stopped); or put the file at {places.kept(source)}"
        f" yourself; or set {MIRROR} to the URL of a folder that has {source.served_as}"
    )


def _make_room(source: Source, part: Part, out: Path, total: int, missing: int) -> None:
    """Raise `NoRoom` unless the rest of a download fits on its disk, and what is unpacked from it on its own."""
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
        needed, free = sum(size for _, size in uses), shutil.disk_usage(uses[0][0]).free
        if needed > free:
            parts = ", ".join(f"{megabytes(size)} MB in {folder}" for folder, size in uses)
            raise NoRoom(
                f"{name}: needs {megabytes(needed)} MB of disk ({parts}), {megabytes(free)} MB are free there;"
                " free some space, or put the results folder on another disk, then start again"
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that of several jobs that need the same archive one downloads it and the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def extract(archive: Path, member: str, out: Path, verify: bool = True) -> None:
    """Publish one file of a tar.gz archive; a leading ./ in the archive's names does not matter.

    Args:
        verify: read the archive to its end, where the checksum is that gzip verifies; not needed for an archive that
            had the published one.
    """
    names = []
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for entry in tar:
                if entry.isfile() and PurePosixPath(entry.name) == PurePosixPath(member):
                    require(member, [(out.parent, entry.size)])
                    with atomic(out) as temporary, temporary.open("wb") as file:
                        shutil.copyfileobj(tar.extractfile(entry), file, CHUNK)
                        while verify and unpacked.read(CHUNK):
                            pass
                    return
                names.append(entry.name)
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, gzip.BadGzipFile) as error:
        raise InputError(f"{archive}: expected a tar.gz archive ({error}); delete it and start again") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(f"{out}: {error.strerror} while unpacking; free some space and start again") from error
    raise InputError(f"{archive}: expected a file '{member}' inside, found {', '.join(names) or 'nothing'}")


def obtain(source: Source, places: Places, out: Path) -> None:
    """Publish one file at `out`: from the archives folder where it lies there, from the network otherwise."""
    kept, expected = places.kept(source), Expected(source, places.records)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(kept.with_name(f".{source.served_as}.lock")):
        url = f"{kept}, which was there"
        if kept.exists():
            try:
                expected.check(kept, str(kept))
            except InputError as error:
                advice = "delete it to download it again, or put the right file there"
                raise InputError(f"{error}; {advice}") from error
        else:
            part, url = fetch(source, places, out)
            if source.member is None:
                expected.remember(part, url)
                _move(part, out)
                return
            part.replace(kept)
            Part(part).clear()
        if source.member is None:
            expected.remember(kept, url)
            _copy(kept, out)
    if source.member is not None:
        _unpack(source, places, out, url)


def _unpack(source: Source, places: Places, out: Path, url: str) -> None:
    """Extract an archive's member; only then is an archive without a published checksum known to be one."""
    with locked(places.archives / f".{source.name}.lock"):
        for left in out.parent.glob(f".{out.name}.*.part"):  # of a process that was killed
            left.unlink()
        extract(places.kept(source), source.member, out, verify=not source.verified)
    with locked(places.kept(source).with_name(f".{source.served_as}.lock")):
        Expected(source, places.records).remember(places.kept(source), url)


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
    """Parse the command line and fetch one file."""
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
