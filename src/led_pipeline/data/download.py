"""Download: one published file into a dataset's source folder, checked against its size and MD5 where they are known.

Run as `python -m led_pipeline.data.download --sources config/sources.yaml --name NAME --archives DIR --out FILE`.
An archive that holds several of the files is kept in DIR and downloaded once. What already lies in DIR under the name
that the first URL ends with is checked and used instead of the network, so a file can be put there by hand.
"""

import argparse
import fcntl
import shutil
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Self

import requests
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from led_pipeline.files import InputError, atomic, digest, run_main, write_json
from led_pipeline.recipe_errors import nearest, sentences

CHUNK = 1 << 20
TIMEOUT_S = (30, 60)  # to connect, and between two chunks
PROGRESS_S = 5


class Source(BaseModel):
    """One published file; size and MD5 are those of what the URLs serve, the archive where there is a member."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    url: Annotated[list[str], Field(min_length=1)]
    member: str | None = None
    bytes: Annotated[int, Field(ge=1)] | None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None
    verified: bool
    licence: str

    @model_validator(mode="after")
    def _verified_is_complete(self) -> Self:
        if self.verified and (self.bytes is None or self.md5 is None):
            raise ValueError("a verified file needs bytes and md5")
        return self

    @property
    def served_as(self) -> str:
        """The last part of the first URL: the name under which the archives folder keeps it."""
        return PurePosixPath(self.url[0]).name


class Sources(BaseModel):
    """The list of published files."""

    model_config = ConfigDict(extra="forbid")

    files: list[Source]


def read_source(path: Path, name: str) -> Source:
    """Return the entry of one file from a list such as config/sources.yaml."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        files = Sources.model_validate(content).files
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({error})") from error
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {fault}" for fault in sentences(error, Sources, content))) from error
    found = [source for source in files if source.name == name]
    if len(found) != 1:
        known = sorted({source.name for source in files})
        what = f"{len(found)} entries" if found else "no entry"
        there = f"expected one; there are {', '.join(known)}"
        raise InputError(f"{path}: {what} named '{name}'{nearest(name, known)}, {there}")
    return found[0]


def check(path: Path, source: Source, origin: str) -> None:
    """Raise an `InputError` that names `origin` unless a file has the size and MD5 of its entry, where known."""
    size = path.stat().st_size
    if source.bytes is not None and size != source.bytes:
        raise InputError(f"{origin}: expected {source.bytes:,} bytes, got {size:,}")
    if source.md5 is not None and (md5 := digest(path, "md5")) != source.md5:
        raise InputError(f"{origin}: expected MD5 {source.md5}, got {md5}")


def download(url: str, path: Path) -> None:
    """Write what a URL serves to `path`, with a line of progress on stderr every few seconds."""
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as response:
            if response.status_code != requests.codes.ok:
                raise InputError(f"{url}: expected HTTP 200, got {response.status_code} {response.reason}")
            total = int(response.headers.get("Content-Length", 0))
            with path.open("wb") as file:
                _copy(response.iter_content(CHUNK), file, PurePosixPath(url).name, total)
    except requests.RequestException as error:
        raise InputError(f"{url}: {type(error).__name__}: {error}") from error


def _copy(chunks: Iterator[bytes], file: BinaryIO, name: str, total: int) -> None:
    start = shown = time.monotonic()
    received = 0

    def show() -> None:
        rate = received / max(time.monotonic() - start, 1e-9)
        of = f" of {total / 1e6:,.1f}" if total else ""
        print(f"{name}: {received / 1e6:,.1f}{of} MB, {rate / 1e6:.1f} MB/s", file=sys.stderr, flush=True)

    for chunk in chunks:
        file.write(chunk)
        received += len(chunk)
        if time.monotonic() - shown > PROGRESS_S:
            shown = time.monotonic()
            show()
    show()


def fetch(source: Source, path: Path, by_hand: Path) -> None:
    """Publish a checked download at `path`, from the first of its URLs that serves the right file.

    Raises:
        InputError: one line per URL with what was wrong, and `by_hand`, where the user can put the file instead.
    """
    faults = []
    for url in source.url:
        try:
            with atomic(path) as temporary:
                download(url, temporary)
                check(temporary, source, url)
        except InputError as error:
            print(error, file=sys.stderr, flush=True)
            faults.append(str(error))
            continue
        if not source.verified:
            _note(source, url, path)
        return
    advice = f"put the file at {by_hand} yourself, or name a mirror in its entry of the sources file; then start again"
    raise InputError("\n  ".join([f"{source.name} could not be downloaded:", *faults, advice]))


def _note(source: Source, url: str, path: Path) -> None:
    """Write down what was seen of a file without published size and checksum."""
    seen = {"url": url, "bytes": path.stat().st_size, "sha256": digest(path)}
    note = path.with_name(f"{path.name}.seen.json")
    write_json(note, seen)
    got = f"got {seen['bytes']:,} bytes with SHA-256 {seen['sha256']}"
    print(f"{source.served_as}: no published checksum to compare with; {got}, noted in {note}", file=sys.stderr)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that of several jobs that need the same archive one downloads it and the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def extract(archive: Path, member: str, out: Path) -> None:
    """Publish one file of a tar.gz archive; a leading ./ in the archive's names does not matter."""
    names = []
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for entry in tar:
                if entry.isfile() and PurePosixPath(entry.name) == PurePosixPath(member):
                    with atomic(out) as temporary, temporary.open("wb") as file:
                        shutil.copyfileobj(tar.extractfile(entry), file, CHUNK)
                    return
                names.append(entry.name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive}: expected a tar.gz archive ({error}); delete it and start again") from error
    raise InputError(f"{archive}: expected a file '{member}' inside, found {', '.join(names) or 'nothing'}")


def obtain(source: Source, archives: Path, out: Path) -> None:
    """Publish one file at `out`: from the archives folder where it lies there, from the network otherwise."""
    kept = archives / source.served_as
    advice = "delete it to download it again, or put the right file there"
    if source.member is None and not kept.exists():
        fetch(source, out, by_hand=kept)
        return
    with locked(archives / f".{source.served_as}.lock"):
        if kept.exists():
            try:
                check(kept, source, str(kept))
            except InputError as error:
                raise InputError(f"{error}; {advice}") from error
        else:
            fetch(source, kept, by_hand=kept)
    if source.member is not None:
        extract(kept, source.member, out)
    else:
        with atomic(out) as temporary:
            shutil.copyfile(kept, temporary)


def main() -> None:
    """Parse the command line and fetch one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="the list of files, such as config/sources.yaml")
    parser.add_argument("--name", required=True, help="the entry to fetch")
    parser.add_argument("--archives", type=Path, required=True, help="folder that keeps archives")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = read_source(arguments.sources, arguments.name)
    print(f"{source.name}: {source.licence}", file=sys.stderr)
    obtain(source, arguments.archives, arguments.out)


if __name__ == "__main__":
    run_main(main)
