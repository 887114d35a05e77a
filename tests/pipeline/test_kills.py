"""A short form of `make kill-test`: up to the first trained model, killed at a few moments, compared to the bit."""

import sys

import pytest
from kill_campaign import campaign

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.java,
    pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tie a process to its parent"),
]
KILLS = 5


def test_the_same_command_continues_after_every_kill_and_ends_with_the_same_bits(tmp_path):
    kills, faults = campaign(tmp_path, KILLS, "results/tiny/models/lex_warmup")
    assert faults == []
    assert sum(kills.values()) == KILLS and len({victim for _, victim in kills}) > 2
