"""Repair text whose UTF-8 was read as Latin-1 or Windows-1252 and encoded again ("cafÃ©" for "café").

About a fifth of MS MARCO's passages have such places, often next to correct ones (MacAvaney et al., SIGIR 2021,
doi:10.1145/3404835.3463254). ftfy finds and decodes them; its other repairs (quotes, ligatures, HTML entities, Unicode
normal forms) are not used.
"""

from collections import Counter
from collections.abc import Iterable

import ftfy

from led_pipeline.data.formats.characters import is_blank

# A sequence that has lost a byte cannot be restored, so it stays visible.
CONFIG = ftfy.TextFixerConfig(replace_lossy_sequences=False)
METHOD = f"ftfy {ftfy.__version__} fix_encoding"


def repaired(text: str) -> str:
    """Return a text with its doubly encoded places decoded; one that would become blank stays unchanged."""
    fixed: str = ftfy.fix_encoding(text, CONFIG)
    return text if is_blank(fixed) else fixed


class Repair:
    """Repairs texts, if enabled, and counts the texts that it changed."""

    def __init__(self, enabled: bool) -> None:
        self.method = METHOD if enabled else None
        self.changed: Counter[str] = Counter()

    def __call__(self, texts: Iterable[str], kind: str) -> list[str]:
        """Return the texts, repaired if enabled; `kind` is their name in the provenance."""
        before = list(texts)
        if self.method is None:
            return before
        after = [repaired(text) for text in before]
        self.changed[f"{kind}_repaired"] += sum(map(str.__ne__, after, before))
        return after
