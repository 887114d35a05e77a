import os
import signal

import pytest
from accelerate import Accelerator

from led_pipeline.training.agreement import Agreement


def test_sigterm_requests_a_stop_and_its_handler_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with Agreement(Accelerator(cpu=True)) as everyone:
        os.kill(os.getpid(), signal.SIGTERM)
        assert everyone.stop
        assert everyone.all_reduce_sum(everyone.stop, False, 7) == [1, 0, 7]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("early", [True, False])
def test_sigterm_ends_the_process_at_once_if_nothing_is_left_to_save(early):
    with Agreement(Accelerator(cpu=True)) as everyone, pytest.raises(SystemExit, match="stopped at step 8"):
        if early:
            os.kill(os.getpid(), signal.SIGTERM)
        with everyone.ending_at_once("stopped at step 8"):
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on")
