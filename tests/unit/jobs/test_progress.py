"""Progress of jobs: lines that are printed, and read back."""

import pytest

from led_pipeline.jobs import progress
from led_pipeline.jobs.progress import Progress, counted, last


def test_progress_is_read_back_from_a_log(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0)
    with Progress("encode", 12_000, "passages") as counter:
        counter.add(4_096)
        middle = capsys.readouterr().err
        counter.reach(12_000)
    end = capsys.readouterr().err
    reached = last(middle.splitlines())
    assert (reached.done, reached.total, reached.unit) == (4_096, 12_000, "passages")
    assert reached.rate.endswith("/s") and reached.seconds_left is not None
    assert last([*middle.splitlines(), *end.splitlines(), "written"]).share == 1
    assert last(["step 3", "1 of 2 GPUs"]) is None


def test_lines_are_at_most_one_in_some_seconds(capsys):
    with Progress("tokenise", 100_000, "texts") as counter:
        assert list(counted(range(100_000), counter)) == list(range(100_000))
    assert capsys.readouterr().err.count("\n") == 1


def test_only_one_rank_prints_and_a_failed_job_prints_no_end(capsys):
    with Progress("encode", 10, "texts", active=False) as counter:
        counter.add(10)
    with pytest.raises(ValueError), Progress("encode", 10, "texts"):
        raise ValueError
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "share", "rate", "left"),
    [
        (
            "led: step 1,200 of 2,400: loss 1.2 (kl 1), 90 queries/s, 1 tokens/s, 1:02:03 left",
            0.5,
            "90 queries/s",
            3723,
        ),
        ("led: step 1 of 4: loss 1.2, 02:26 left", 0.25, "", 146),
        ("collection.tar.gz: 10.5 of 42.0 MB (25 %), 5.1 MB/s, 3 min 05 s left", 0.25, "5.1 MB/s", 185),
        ("model.bin: 1.0 of 2.0 MB (50 %), 5.1 MB/s, 2 h 07 min left", 0.5, "5.1 MB/s", 7620),
        ("search: 10 of 10 queries, 5/s, in 0:02", 1.0, "5/s", None),
    ],
)
def test_lines_of_trainings_and_downloads_are_progress_too(line, share, rate, left):
    reached = last([line])
    assert (reached.share, reached.rate, reached.seconds_left) == (share, rate, left)
