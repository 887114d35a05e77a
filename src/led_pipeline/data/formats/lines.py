"""Read text files line by line, plain or compressed (module `streams`), and collect the problems in them.

A reader never stops at the first bad line and never drops one silently. It reports to a `Problems`, which either counts
the line as skipped, because `dataset.skip` in the recipe names this kind of defect, or keeps it for the one
`InputError` that `Problems.check` raises after the last line. A skipped line is left out as a whole: one that is not
UTF-8 is not repaired.
"""

import reprlib
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TypeGuard, get_args

from led_pipeline.data.formats.streams import damage, open_bytes
from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits, over
from led_pipeline.files.reading import raised
from led_pipeline.recipe.dataset import Defect

DEFECTS: tuple[str, ...] = get_args(Defect)
MALFORMED = "malformed"  # the one kind that cannot be skipped: the intended content is unknown

# Oddities that are no faults: counted in the provenance and printed to the log.
NOTES = {
    "repeated_judgement": "judgement(s) that an earlier line has with the same grade; each pair counts once",
    "quoted_field": 'line(s) quoted as CSV ("" for "); quotes are read as part of ids and texts, so write them without',
    "look_alike": "line(s) left out whose id differs from an existing one in code points, case or zeros only",
    "byte_order_mark": "byte order mark(s) inside the file, where files were joined; dropped",
}

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# First bytes of files that are not UTF-8 text -> the format, and what to do.
_ENCODINGS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_PACKED = {
    b"\x1f\x8b": ("gzip", "unpack it, or let its name end in .gz here and in the config"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it, or let its name end in .zst here and in the config"),
    b"PK\x03\x04": ("zip", "unpack it, or name the file inside in the config, as ARCHIVE.zip/NAME"),
    b"BZh91AY&SY": ("bzip2", "unpack it"),
    b"\xfd7zXZ": ("xz", "unpack it"),
    b"PAR1\x15": ("Parquet", "let its name end in .parquet here and in the config, or write it as lines of text"),
}


class Problems:
    """The problems of the files that one command reads: the counts by kind, and the sentence about the first."""

    def __init__(self, skip: Collection[str] = ()) -> None:
        if unknown := set(skip) - set(DEFECTS):
            raise ValueError(f"skip: no defect {sorted(unknown)}, expected some of {', '.join(DEFECTS)}")
        self._skip = [kind for kind in DEFECTS if kind in skip]
        self._first: tuple[str, str] | None = None  # kind, sentence
        self._counts: Counter[str] = Counter()
        self._skipped: dict[str, Counter[str]] = {}
        self._noted: dict[str, Counter[str]] = {}

    def note(self, kind: str, path: Path | str) -> None:
        """Count a line that is odd but no fault; `kind` is one of NOTES."""
        self._noted.setdefault(str(path), Counter())[kind] += 1

    def add(self, kind: str, path: Path | str, line: int | None, fault: str, lines: int = 1) -> None:
        """Report lines that the caller leaves out; `fault` says what is wrong and what is expected.

        Args:
            line: its number; None for an entry of a file without lines.
        """
        if self.skips(kind):
            self._skipped.setdefault(str(path), Counter())[kind] += lines
            return
        self._counts[kind] += lines
        if self._first is None:
            self._first = kind, f"{path}: {fault}" if line is None else f"{path}:{line}: {fault}"

    def needs_sentence(self, kind: str) -> bool:
        """Tell whether the `fault` of the next problem of this kind is used: it is the first that is not skipped."""
        return self._first is None and not self.skips(kind)

    def skips(self, kind: str) -> bool:
        """Tell whether lines with this defect are left out and counted."""
        return kind in self._skip

    @property
    def skipped(self) -> dict[str, dict[str, int]]:
        """The number of lines left out, by file and kind of defect."""
        return {path: dict(counts) for path, counts in self._skipped.items()}

    @property
    def noted(self) -> dict[str, dict[str, int]]:
        """The number of odd lines, by file and kind of NOTES."""
        return {path: dict(counts) for path, counts in self._noted.items()}

    def check(self) -> None:
        """Raise one `InputError` for all problems that were not skipped, if there are any."""
        if self._first is None:
            return
        kind, sentence = self._first
        sentence += "; correct the file"
        if kind in DEFECTS:
            keys = ", ".join([*self._skip, kind])
            sentence += f", or set dataset.skip: [{keys}] to leave such lines out and count them"
        others = self._counts - Counter([kind])
        if others:
            more = (f"{count:,} more {name}" if name == kind else f"{count:,} {name}" for name, count in others.items())
            sentence += f" (besides this line: {', '.join(more)})"
        raise InputError(sentence)


def read_lines(path: Path | str, problems: Problems, with_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line numbers (from 1) and lines without their line ends.

    Lines end in LF or CR LF. A byte order mark at the start of a line is dropped, and noted after line 1. Blank lines
    at the end of the file are dropped; any other blank line is malformed.

    Args:
        with_blank: yield blank lines like any others, for formats whose texts may have several lines.

    Raises:
        InputError: the file cannot be opened, its compressed stream is damaged or cut off, or it is not UTF-8 text.
    """
    number = blank = 0  # the number of this line, and the count of blank lines right before it
    longest = limits().line
    with open_bytes(path) as file:
        try:
            # `iter` calls readline from C: as fast as a loop over the file, with a bound on the length of a line.
            for number, raw in enumerate(iter(partial(file.readline, longest + 2), b""), start=1):
                if number == 1:
                    _check_encoding(path, raw)
                if raw.startswith(_BYTE_ORDER_MARK):
                    raw = raw.removeprefix(_BYTE_ORDER_MARK)
                    if number > 1:
                        problems.note("byte_order_mark", path)
                raw = raw.rstrip(b"\r\n")
                if not raw and not with_blank:
                    blank += 1
                    continue
                if blank:
                    fault = "a blank line, expected blank lines at the end of the file only"
                    problems.add(MALFORMED, path, number - blank, fault, blank)
                    blank = 0
                if len(raw) > longest:
                    raise InputError(f"{path}:{number}: a line of {over('line')} bytes; are these lines of text?")
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    fault = f"byte {error.start + 1} of the line, 0x{raw[error.start]:02x}, is not UTF-8"
                    problems.add(
                        "bad_utf8", path, number, f"{fault}, expected UTF-8 text (iconv converts other encodings)"
                    )
                    continue
                yield number, line
        except raised() as error:
            raise damage(path, error, number + 1) from error


def _check_encoding(path: Path | str, first: bytes) -> None:
    """Raise an `InputError` if the first line shows that the file is packed or in another encoding."""
    for start, (name, advice) in _PACKED.items():
        if first.startswith(start):
            raise InputError(f"{path}: {name} data, expected lines of text under this name; {advice}")
    encoding = next((name for start, name in _ENCODINGS.items() if first.startswith(start)), "")
    if not encoding and first[:4].count(0) in (2, 3):  # ASCII letters without a byte order mark
        bits = 16 if first[:4].count(0) == 2 else 32
        encoding = f"UTF-{bits}{'BE' if first[0] == 0 else 'LE'}"
    if encoding:
        raise InputError(
            f"{path}: {encoding} text, expected UTF-8; convert it with"
            f" `iconv -f {encoding} -t UTF-8 {Path(path).name} > NEW` and name the new file in the config"
        )


def is_id(value: object) -> TypeGuard[str]:
    """Tell whether a value can be an id.

    An id is a string that is not empty and not longer than the limit, without white space, which separates the columns
    of TREC files, without NUL, which ends a string for trec_eval, and without unpaired surrogates, which UTF-8 lacks.
    """
    return (
        isinstance(value, str)
        and value.split() == [value]
        and len(value) <= limits().id
        and "\0" not in value
        and (value.isascii() or is_encodable(value))
    )


def is_encodable(text: str) -> bool:
    """Tell whether UTF-8 can encode a text, which is not so if a \\u escape left half a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def bad_id(value: object, subject: str) -> str:
    """Return the sentence about a value that is not an id; it begins with `subject`, such as "a query is"."""
    if isinstance(value, str) and len(value) > limits().id:
        return f"{subject} {value[:40]!r}... of {len(value):,} characters, {over('id')}"
    return f"{subject} {short(value)}, expected an id: a string that is not empty and has no white space and no NUL"


def short(value: object) -> str:
    """Return the repr of a value for an error message, shortened."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
