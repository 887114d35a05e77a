"""Read the list of published files, such as config/sources.yaml, with their URLs, sizes and checksums."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from led_pipeline.fetch.addresses import Address
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.recipe.errors import nearest, sentences

MIRROR = "LED_MIRROR"  # environment variable: a URL prefix that is tried before the published URLs
SCHEMES = ("https", "http", "file")

Bytes = Annotated[int, Field(ge=1)]


def is_url(text: str) -> bool:
    """Return whether a text is a URL with a supported scheme."""
    scheme, host, _ = Address(text).origin
    return scheme in SCHEMES and (bool(host) or scheme == "file")


class Source(BaseModel):
    """One published file; size and checksum are those of the served file: the archive, if `member` is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    url: Annotated[list[str], Field(min_length=1)]
    headers: dict[str, str] = {}  # sent only to the host of the first URL
    member: str | None = None
    bytes: Bytes | None
    unpacked_bytes: Bytes | None = None  # of the member, rounded up; only for the check of free disk space
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    verified: bool
    licence: str

    @model_validator(mode="after")
    def _verified_means_checksum(self) -> Self:
        if self.verified != bool(self.checksums):
            raise ValueError("verified must be true if md5 or sha256 is given, and false otherwise")
        return self

    @property
    def served_as(self) -> str:
        """The last part of the first URL's path: the file's name in the archives folder and on a mirror."""
        return PurePosixPath(urlsplit(self.url[0]).path).name

    @property
    def checksums(self) -> dict[str, str]:
        """The published checksums by algorithm."""
        return {name: value for name in ("md5", "sha256") if (value := getattr(self, name)) is not None}

    def urls(self, mirror: str | None) -> list[Address]:
        """Return the addresses to try, in order: the user's mirror, if there is one, then the published URLs.

        Raises:
            InputError: the mirror is not a URL.
        """
        published = [Address(url) for url in self.url]
        if not mirror:
            return published
        if not is_url(mirror):
            value = "its value" if "@" in mirror or "?" in mirror else f"'{mirror}'"  # it may contain a secret
            raise InputError(
                f"{MIRROR}: {value} is not a URL, expected the folder of the files, such as"
                f" https://host/msmarco or file:/data/msmarco; correct or unset this environment variable"
            )
        return [Address(mirror).beside(self.served_as), *published]

    def headers_for(self, url: Address) -> dict[str, str]:
        """Return the headers of a request: those of the entry for the publisher, none for mirrors."""
        return self.headers if url.origin == Address(self.url[0]).origin else {}


class Sources(BaseModel):
    """The list of published files."""

    model_config = ConfigDict(extra="forbid")

    files: list[Source]

    @model_validator(mode="after")
    def _one_name_one_place(self) -> Self:
        first: dict[str, str] = {}
        for source in self.files:
            if first.setdefault(source.served_as, source.url[0]) != source.url[0]:
                raise ValueError(f"two different URLs end with '{source.served_as}' and would overwrite each other")
        return self


def read_source(path: Path, name: str) -> Source:
    """Return the entry of one file.

    Raises:
        InputError: the list is not valid, or has no such entry.
    """
    content = read_yaml(path, "the list of published files")
    try:
        files = Sources.model_validate(content).files
    except ValidationError as error:
        faults = sentences(error, Sources, content, secret=("url", "headers"))
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults)) from error
    matches = [source for source in files if source.name == name]
    if len(matches) != 1:
        names = sorted({source.name for source in files})
        count = f"{len(matches)} entries" if matches else "no entry"
        raise InputError(
            f"{path}: {count} named '{name}'{nearest(name, names)}, expected one; the entries are {', '.join(names)}"
        )
    return matches[0]
