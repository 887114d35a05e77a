"""The guide to exports: its code is that of the README.md files, which the tests run, and it has every format."""

import re
from pathlib import Path

from led_pipeline.export import faiss_folder, jsonl, npz, opensearch
from led_pipeline.export.formats import FORMATS, of_kind

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "export.md").read_text(encoding="utf-8")


def code(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_code_of_the_guide_is_that_of_the_readme_files():
    names = {"name": "flat", "split": "dev", "quantisation": 100, "jar": "", "placeholder": "", "example": ""}
    for template in (faiss_folder.ROWS, jsonl.README, npz.README, opensearch.README):
        (block,) = code(template.format(**names))
        assert block in GUIDE


def test_the_table_of_the_guide_has_every_format():
    for system, kind in (("a dense stage", "dense"), ("a lexicon stage", "lexicon"), ("a ranker", "ranker")):
        (row,) = re.findall(rf"^\| {system} \| (.*?) \|", GUIDE, re.MULTILINE)
        assert row == ", ".join(f"`{name}`" for name in of_kind(kind))
    assert all(f"`{name}`" in GUIDE for name in FORMATS)
