"""Jobs that wait for others, for cores and for GPUs end when they would."""

from dataclasses import dataclass

from led_pipeline.jobs.placement import makespan


@dataclass(frozen=True)
class Job:
    id: int
    after: tuple[int, ...]
    threads: int
    gpus: int


def chain(*jobs: tuple[int, tuple[int, ...], int, int]) -> list[Job]:
    return [Job(n, after, threads, gpus) for n, after, threads, gpus in jobs]


def test_jobs_wait_for_others_and_for_room():
    seconds = {1: 10.0, 2: 10.0, 3: 5.0, 4: 7.0}
    free = chain((1, (), 1, 0), (2, (), 1, 0), (3, (1, 2), 1, 0), (4, (), 1, 0))
    assert makespan(free, seconds, set(), None, None) == 15  # 3 after 1 and 2; 4 beside them
    assert makespan(free, seconds, set(), 1, None) == 32  # one core: one after another
    assert makespan(free, seconds, {4}, 1, None) == 32  # 4 has its core already
    gpus = chain((1, (), 1, 8), (2, (), 1, 8), (3, (), 1, 8), (4, (), 1, 0))
    assert makespan(gpus, seconds, set(), None, 8) == 25
    assert makespan(gpus, seconds, set(), 2, 4) == 25  # no job gets more than there are
    assert makespan([], {}, set(), 1, 1) == 0


def test_ten_thousand_jobs_are_placed_one_after_another():
    """Every job waits for the one before: no job may be looked at more than a few times."""
    jobs = chain(*((n, (n - 1,), 1, 1) for n in range(10_000)))
    assert makespan(jobs, dict.fromkeys(range(10_000), 2.0), set(), 4, 1) == 20_000


def test_the_most_urgent_job_gets_the_room():
    """2 is the beginning of a chain: behind 1 the last job ends at 40, before it at 30."""
    jobs = chain((1, (), 1, 4), (2, (), 1, 4), (3, (2,), 1, 4))
    seconds = {1: 10.0, 2: 20.0, 3: 10.0}
    assert makespan(jobs, seconds, set(), None, 4) == 40
    short = chain((1, (), 1, 4), (2, (), 1, 4), (3, (2,), 1, 0))
    assert makespan(short, seconds, set(), None, 4) == 40
    assert makespan(short, seconds, set(), None, 4, {2: 1}) == 30
