"""What all tests share: no GPU, no network, and the option that renews the golden files."""

import os

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a test's numbers must not depend on the machine
os.environ["ACCELERATE_USE_CPU"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew instead of comparing")
