"""A child gives signs of life; one that hangs does not."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from signal import SIGCONT, SIGSTOP

import pytest

from workers.parent.pulse import Pulse

PROGRAM = "import sys; from workers.parent.pulse import beat; beat(sys.stdout.buffer)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as child:
        yield child
        child.kill()


def pulse_of(child: subprocess.Popen[bytes]) -> Pulse:
    assert child.stdout is not None
    # Popen closes its own pipe; the pulse has one of its own.
    return Pulse(os.fdopen(os.dup(child.stdout.fileno()), "rb", buffering=0))


def test_a_child_that_lives_is_not_silent(child: subprocess.Popen[bytes]) -> None:
    pulse = pulse_of(child)
    time.sleep(4)
    assert pulse.silent_seconds < 3


def test_a_child_that_is_stopped_falls_silent_until_it_goes_on(child: subprocess.Popen[bytes]) -> None:
    pulse = pulse_of(child)
    time.sleep(1)
    child.send_signal(SIGSTOP)
    time.sleep(3.5)
    assert pulse.silent_seconds > 2
    child.send_signal(SIGCONT)
    time.sleep(2.5)
    assert pulse.silent_seconds < 2
