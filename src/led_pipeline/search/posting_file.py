"""The posting file of exact lexicon search: blocks of passages, in each of them the postings of every term.

Numbers are little-endian. Every array starts at a multiple of 64 bytes, so that a block can be copied to a device in
one piece and used there as it is.

| part | contents |
|---|---|
| header, 128 bytes | `HEADER`: magic, version, sizes, place of the tables, length of the file, checksum of the tables |
| per block | terms (E,) uint16 or uint32, ascending; starts (E + 1,) uint32, where each term's postings begin; |
| | largest (E,) uint16, each term's largest impact, 65,535 if it does not fit; rows (P,) uint16, within the block, |
| | ascending per term; impacts (P,) uint8, uint16 or uint32, the same type in all of the block |
| table of blocks | (blocks, 10) int64, columns `TABLE`; its places count from the start of the file |
| table of terms | (vocabulary, 2) uint32: number of passages with a term, its largest impact |

An impact that does not fit into its block's type is written as several postings of the passage that add up to it.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import reading

MAGIC = b"LEDPOSTS"
VERSION = 1
ALIGNMENT = 64
# magic, version, bytes of a term id, passages of a block, quantisation, passages, vocabulary, blocks, place of the
# tables, length of the file, checksum of the tables
HEADER = struct.Struct("<8sIIQQQQQQQQ")
HEADER_BYTES = 128
TABLE = ("entries", "postings", "impact_bytes", "highest", "terms", "starts", "largest", "rows", "impacts", "checksum")
ENTRIES, POSTINGS, WIDTH, HIGHEST, TERMS, STARTS, LARGEST, ROWS, IMPACTS, CHECKSUM = range(len(TABLE))
MOST_ROWS = 65_536  # passages of a block: a row has 16 bits
AGAIN = "remove its folder to have it made again"


@dataclass(frozen=True)
class Postings:
    """A mapped posting file."""

    path: Path
    data: NDArray[np.uint8]  # the file
    table: NDArray[np.int64]  # of blocks
    terms: NDArray[np.uint32]  # table of terms
    passages: int
    block_rows: int
    quantisation: int
    term_bytes: int

    @property
    def size(self) -> int:
        """The number of postings."""
        return int(self.table[:, POSTINGS].sum())

    def check_blocks(self) -> None:
        """Compare the checksums of all blocks, which reads the whole file.

        Raises:
            InputError: the content of a block has changed.
        """
        for block, row in enumerate(self.table):
            content = self.data[row[TERMS] : row[IMPACTS] + row[WIDTH] * row[POSTINGS]]
            if zlib.crc32(content.data) != row[CHECKSUM]:
                raise damaged(self.path, f"block {block} has another checksum than its table says")


def damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: damaged posting file, {reason}; {AGAIN}")


def padding(size: int) -> int:
    """Return the bytes from `size` to the next place where an array may start."""
    return -size % ALIGNMENT


def read_postings(path: Path) -> Postings:
    """Map a posting file after checking its header and its tables.

    Raises:
        InputError: it is no posting file, has another version or another length, or its tables are damaged.
    """
    with reading(path, f"a posting file; {AGAIN}"):
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        raise damaged(path, f"it does not start with a header of {MAGIC.decode()}")
    _, version, term_bytes, block_rows, quantisation, passages, vocabulary, blocks, place, length, checksum = (
        HEADER.unpack_from(head)
    )
    if version != VERSION:
        raise InputError(f"{path}: version {version} of posting files, expected {VERSION}; {AGAIN}")
    if length != size:
        raise damaged(path, f"it has {size:,} bytes and its header says {length:,}")
    table_bytes, terms_bytes = 8 * len(TABLE) * blocks, 8 * vocabulary
    is_valid = 0 < block_rows <= MOST_ROWS and term_bytes in (2, 4) and blocks == -(-passages // block_rows)
    if not is_valid or place + table_bytes + terms_bytes != size:
        raise damaged(path, "the sizes in its header do not match")
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    if zlib.crc32(data[place:].data) != checksum:
        raise damaged(path, "its tables have another checksum than its header says")
    table = data[place : place + table_bytes].view(np.int64).reshape(blocks, len(TABLE))
    terms = data[place + table_bytes :].view(np.uint32).reshape(vocabulary, 2)
    return Postings(path, data, table, terms, passages, block_rows, quantisation, term_bytes)
