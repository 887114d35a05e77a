"""Fuzz the readers of all user files with damaged, odd and hostile files, which are mutations of valid ones.

Run as `python tests/faults/fuzz.py [--seed N] [--inputs 20000] [--only NAME] [--keep DIR]`. A seed always produces the
same inputs. Every input must lead to an `InputError` with the file's name, or to the value that an independent simple
reader (module `fuzz_targets`) gets from the same bytes. Anything else is a fault: another error, another value, more
than SECONDS, or more than MEGABYTES of memory. Faults are printed, their inputs saved in DIR, and the exit status is 1.
"""

import argparse
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuzz_targets import TARGETS, Target

from led_pipeline.files.errors import InputError

SECONDS = 20  # on a busy machine, milliseconds of work may take seconds
MEGABYTES = 300
CLEAR_REFS = Path("/proc/self/clear_refs")  # "5" resets the peak: man 5 proc

ODD = [
    b"", b"0", b"-1", b"1.5", b"007", b"1_0", b"+1", b"nan", b"NaN", b"inf", b"-Infinity", b"1e39", b"1e400", b"-1e39",
    b"4294967296", b"99999999999999999999", b"1" * 5000, b"1" * 400, b"0x1", b"null", b"true", b"None", b"\0", b"\x01",
    b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\xff\xfe", "\u0661".encode(), "\u200b".encode(), "\u2028".encode(),
    "\u0085".encode(), "\u00a0".encode(), "e\u0301".encode(), b"\xed\xa0\xbd", b"\\ud83d", b"\\u0000", b"\\n", b"\r",
    b"\r\n", b"\n\n", b"\t", b" ", b"  ", b",", b":", b'"', b"'", b"{", b"}", b"[", b"]", b"[]", b"{}", b"[" * 120,
    b"[" * 3000, b"]" * 3000, b'{"a":' * 1500, b'{"a":' * 120, b"p" * 2000, b"#", b"%", b"@", b"`", b"|", b">", b"!",
    b"- ", b": ", b"? [1, 2]\n: 3\n", b"&a [*a]", b"*a", b"&b", b"<<: *b", b"!!int x", b"!!python/name:os.system",
    b"!!binary x", b"!!set {1, 2}", b"!!timestamp 1", b"!!float _", b"2024-13-45", b"12:99:99", b"0o9", b"---\n",
    b"../../../etc/passwd", b"\x1f\x8b\x08", b"PK\x03\x04", b"query-id\tcorpus-id\tscore\n", b"$(id)", b"{x}", b"%s",
]  # fmt: skip
WORD = re.compile(rb"[^\s,:{}\[\]\"]+")
PAIR = re.compile(rb"\"[^\"]*\": ?[^,{}\[\]]+")


def mutated(rng: random.Random, content: bytes, binary: bool) -> bytes:
    """Return a file with one to three changes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        by_bytes = rng.random() < (0.9 if binary else 0.25)
        content = changed_bytes(rng, content) if by_bytes else changed_text(rng, content)
    return content


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """Change bytes, whatever they mean."""
    data, size = bytearray(content), max(len(content), 1)
    at, to = sorted((rng.randrange(size), rng.randrange(size)))
    match rng.randrange(9):
        case 0 | 1 | 2:
            if data:
                data[at] ^= 1 << rng.randrange(8)
        case 3:
            if data:
                data[at] = rng.choice([0, 0xFF, 0x80, 0x7F, rng.randrange(256)])
        case 4:
            del data[at : min(to, at + rng.choice([1, 4, 100]))]
        case 5:
            del data[at:]
        case 6:
            data[at:at] = data[at : min(to, at + 64)]
        case 7:
            noise = rng.randbytes(rng.choice([1, 8, 200]))
            data[at:at] = rng.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", bytes(8), noise])
        case 8:
            data += rng.choice([b"\0", b"\0" * 600, b"x", content, rng.randbytes(16)])
    return bytes(data)


def changed_text(rng: random.Random, content: bytes) -> bytes:
    """Change a word, a pair of a key and its value, or a line."""
    odd = rng.choice(ODD)
    match rng.randrange(8):
        case 0 | 1 | 2:
            words = list(WORD.finditer(content))
            if words:
                start, end = rng.choice(words).span()
                return content[:start] + odd + content[end:]
        case 3:
            at = rng.randrange(len(content) + 1)
            return content[:at] + odd + content[at:]
        case 4:
            pairs = list(PAIR.finditer(content))
            if pairs:
                one, other = rng.choice(pairs), rng.choice(pairs)
                return content[: one.end()] + b", " + other[0] + content[one.end() :]
        case 5 | 6:
            rows = content.splitlines(keepends=True)
            if rows:
                row, other = rng.randrange(len(rows)), rng.randrange(len(rows))
                rows[other : other + rng.randrange(2)] = rng.choice([[rows[row]], [], [rows[row]] * 40, [odd + b"\n"]])
                return b"".join(rows)
        case 7:
            old, new = rng.choice([(b"\n", b"\r\n"), (b"\t", b" "), (b" ", b"\t"), (b'"', b"'"), (b"\n", odd)])
            return content.replace(old, new, rng.choice([-1, 1]))
    return content + odd


class Hang(BaseException):
    """A reader took too long; no `except Exception` catches it."""


@contextmanager
def alarm() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def reset_peak() -> None:
    """Let the peak begin at the present memory (Linux), so that an earlier, higher peak hides no growth."""
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5")


def peak_megabytes() -> float:
    if not CLEAR_REFS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024


def outcome(target: Target, path: Path, content: bytes) -> str | None:
    """Return "refused", "read", or the description of a fault."""
    path.write_bytes(content)
    reset_peak()
    before = peak_megabytes()
    try:
        with alarm():
            value = target.read(path)
    except InputError as error:
        if path.name.partition(".")[0] not in str(error) and not str(error).startswith("recipe: "):
            return f"the file is not named: {error}"
        if "does not fit into memory" in str(error):
            return f"memory: {error}"
        value = InputError
    except (Exception, Hang):
        return traceback.format_exc()
    if (grown := peak_megabytes() - before) > MEGABYTES:
        return f"{grown:.0f} MB more memory"
    if value is InputError:
        return "refused"
    try:
        expected = target.simply(content)
    except Exception:
        return f"read as {str(value)[:300]}, and the simple reader cannot:\n{traceback.format_exc()}"
    if value == expected or repr(value) == repr(expected):  # NaN equals nothing
        return "read"
    return f"read as {str(value)[:1500]}\n, and simply as {str(expected)[:1500]}"


def fuzz(seed: int, inputs: int, only: str | None, keep: Path | None) -> dict[str, Counter]:
    """Read `inputs` files, evenly over the targets; return the outcomes of each."""
    targets = [target for target in TARGETS if only in (None, target.name)]
    counts: dict[str, Counter] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        for target in targets:  # the valid file must be read
            if (result := outcome(target, Path(folder, target.name), target.content)) != "read":
                raise SystemExit(f"{target.name}: the valid file is not read as it should be: {result}")
        for number in range(inputs):
            target = targets[number % len(targets)]
            rng = random.Random(f"{seed} {number}")
            path, content = Path(folder, target.name), mutated(rng, target.content, target.binary)
            result = outcome(target, path, content)
            counts[target.name][result if result in ("refused", "read") else "fault"] += 1
            if result in ("refused", "read"):
                continue
            print(f"--- seed {seed}, input {number}, {target.name}: {result}", flush=True)
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, keep / f"{seed}-{number}-{target.name}")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=3000)
    parser.add_argument("--only", help="fuzz only this file", choices=[target.name for target in TARGETS])
    parser.add_argument("--keep", type=Path, help="folder for inputs that cause a fault")
    a = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    counts = fuzz(a.seed, a.inputs, a.only, a.keep)
    total = Counter()
    for name, outcomes in counts.items():
        print(f"{name:22} {outcomes['read']:6,} read  {outcomes['refused']:6,} refused  {outcomes['fault']:4,} faults")
        total += outcomes
    print(f"seed {a.seed}: {total['read']:,} read, {total['refused']:,} refused, {total['fault']:,} faults")
    sys.exit(bool(total["fault"]))


if __name__ == "__main__":
    main()
