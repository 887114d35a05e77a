from pathlib import Path

import pytest
import small_run

from led_pipeline.use.session import Session


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.write_run(tmp_path_factory.mktemp("use"))


@pytest.fixture(scope="session")
def session(results: Path) -> Session:
    return Session.open(results)
