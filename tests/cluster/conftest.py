"""The cluster and all runs on it, which run at the same time since they wait more than they compute."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import slurm_cluster
from runs import EXPERIMENTS, Run, prepare


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    nodes = ["across2", *(f"{experiment.__name__}1" for experiment in EXPERIMENTS)]
    cluster = slurm_cluster.Cluster(tmp_path_factory.mktemp("slurm"), nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def results(cluster, tmp_path_factory):
    """Start all experiments; return a function that waits for the results of one of them."""
    prepared = tmp_path_factory.mktemp("runs") / "prepared"
    prepare(prepared)
    with ThreadPoolExecutor(len(EXPERIMENTS)) as pool:
        started = {each.__name__: pool.submit(each, cluster, prepared) for each in EXPERIMENTS}
        yield lambda name: started[name].result()
        for process in Run.started:
            process.kill()  # leftovers of a failed experiment
