"""Ctrl-C, SIGTERM and SIGHUP end a process."""

import signal
import subprocess
import sys

import pytest

PLAIN = """
import signal
from sweeps.interrupts import Interrupts
Interrupts("continue with: this")
try:
    print("ready", flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    signal.pause()
"""
DEFERRED = """
import signal
from sweeps.interrupts import Interrupts
interrupts = Interrupts("continue with: this")
try:
    with interrupts.deferred() as interrupted:
        print("ready", flush=True)
        while not interrupted():
            signal.pause()
        print("in good order", flush=True)
        if WAIT:
            signal.pause()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def start(script: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, encoding="utf-8")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_raises_and_the_second_ends_the_process(
    first: signal.Signals, second: signal.Signals
) -> None:
    with start(PLAIN) as process:
        process.send_signal(first)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(second)
        assert process.stderr is not None
        by = "" if first == signal.SIGINT else f" by {first.name}"
        assert process.stderr.read() == f"\ninterrupted{by}; continue with: this\n"
    assert process.returncode == 130


def test_a_deferred_interrupt_waits_for_the_end_of_the_block() -> None:
    with start(DEFERRED.replace("WAIT", "False")) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == "in good order\ninterrupted\n"
    assert process.returncode == 0


def test_a_second_interrupt_does_not_wait_for_the_block() -> None:
    with start(DEFERRED.replace("WAIT", "True")) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "in good order\n"
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130


HUNG_UP_TWICE = """
import os, signal
from sweeps.interrupts import Interrupts
interrupts = Interrupts("continue with: this")
try:
    with interrupts.deferred():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        print("ready", flush=True)
except KeyboardInterrupt:
    print(interrupts.cause, flush=True)
"""


def test_a_terminal_that_hangs_up_twice_does_not_hurry_the_process() -> None:
    with start(HUNG_UP_TWICE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "interrupted by SIGHUP\n"
    assert process.returncode == 0


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with start(ignoring + HUNG_UP_TWICE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert process.returncode == 0


CHILD_WITHOUT_HANGUPS = """
import signal, subprocess, sys
from sweeps.interrupts import hangups_blocked
hang_up = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('child lives', flush=True)"
print("ready", flush=True)
with hangups_blocked():
    subprocess.run([sys.executable, "-c", hang_up], check=True)
    signal.raise_signal(signal.SIGHUP)
    print("still here", flush=True)
print("not reached", flush=True)
"""


def test_a_hangup_reaches_this_process_late_and_its_children_never() -> None:
    with start(CHILD_WITHOUT_HANGUPS) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "child lives\nstill here\n"
    assert process.returncode == -signal.SIGHUP
