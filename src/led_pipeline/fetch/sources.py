"""Sources: the list of published files, such as config/sources.yaml, and where each of them can be had."""

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
    """Return whether a text is a URL of a kind that is downloaded from."""
    scheme, host, _ = Address(text).origin
    return scheme in SCHEMES and (bool(host) or scheme == "file")


class Source(BaseModel):
    """One published file; size and checksum are those of what the URLs serve, the archive where there is a member."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    url: Annotated[list[str], Field(min_length=1)]
    headers: dict[str, str] = {}  # sent to the host of the first URL, and to no other
    member: str | None = None
    bytes: Bytes | None
    unpacked_bytes: Bytes | None = None  # of the member, rounded up; for the check of free disk space only
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    verified: bool
    licence: str

    @model_validator(mode="after")
    def _verified_means_checksum(self) -> Self:
        if self.verified != bool(self.checksums):
            raise ValueError("verified is true where md5 or sha256 is known, and only there")
        return self

    @property
    def served_as(self) -> str:
        """The last part of the first URL's path: the name under which the archives folder and a mirror keep it."""
        return PurePosixPath(urlsplit(self.url[0]).path).name

    @property
    def checksums(self) -> dict[str, str]:
        """The known checksums by algorithm."""
        return {name: value for name in ("md5", "sha256") if (value := getattr(self, name)) is not None}

    def urls(self, mirror: str | None) -> list[Address]:
        """Return where to look, in order: in the user's own mirror, if there is one, then where it is published.

        Raises:
            InputError: the mirror is not a URL.
        """
        published = [Address(url) for url in self.url]
        if not mirror:
            return published
        if not is_url(mirror):
            named = "its value" if "@" in mirror or "?" in mirror else f"'{mirror}'"  # a secret may be in it
            raise InputError(
                f"{MIRROR}: {named} is not a URL, expected the folder of the files, such as"
                f" https://host/msmarco or file:/data/msmarco; correct or unset this environment variable"
            )
        return [Address(mirror).beside(self.served_as), *published]

    def headers_for(self, url: Address) -> dict[str, str]:
        """Return the headers of a request: those of the entry are for the publisher alone, not for mirrors."""
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
                raise ValueError(f"two different URLs end with '{source.served_as}', so both would be kept as one file")
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
    found = [source for source in files if source.name == name]
    if len(found) != 1:
        known = sorted({source.name for source in files})
        what = f"{len(found)} entries" if found else "no entry"
        there = f"expected one; there are {', '.join(known)}"
        raise InputError(f"{path}: {what} named '{name}'{nearest(name, known)}, {there}")
    return found[0]
