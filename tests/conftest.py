"""Shared by all tests: the options of pytest, no network, and no GPU without `--gpu`.

`pytest --gpu` runs the tests marked `gpu`, on the machine's GPU, and no others.
"""

import os
import sys
from collections.abc import Callable, Iterator

import pytest

from led_pipeline.files.limits import limits

os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="overwrite the golden files instead of comparing")
    parser.addoption("--gpu", action="store_true", help="run the tests marked gpu, and no others")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--gpu"):  # a test's numbers must not depend on the machine
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--gpu"):
        others = [item for item in items if not item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU: pytest --gpu"))


@pytest.fixture(autouse=True)
def no_state_of_accelerate() -> None:
    """Let every test train as a new process does: Accelerate shares the first Accelerator's precision in a process."""
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(True)


@pytest.fixture
def set_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set LED_LIMITS, as a process is started with it."""

    def change(text: str) -> None:
        monkeypatch.setenv("LED_LIMITS", text)
        limits.cache_clear()

    yield change
    monkeypatch.undo()
    limits.cache_clear()
