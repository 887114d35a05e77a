"""Binary files that are missing or damaged: the message says what to do."""

import pytest

from led_pipeline.data import opened
from led_pipeline.files.errors import InputError


def open_parquet(path):
    with opened.parquet(path):
        pass


@pytest.mark.parametrize("open_file", [open_parquet, opened.arrow, opened.matrix])
def test_a_missing_file_is_made_by_snakemake_and_a_damaged_one_is_removed(tmp_path, open_file):
    path = tmp_path / "x.bin"
    with pytest.raises(InputError, match=rf"{path}: no such file; let Snakemake make it: snakemake --cores all {path}"):
        open_file(path)
    path.write_bytes(b"no such format")
    with pytest.raises(InputError, match=rf"{path}: .*expected a file of this pipeline; remove it to have it made"):
        open_file(path)
