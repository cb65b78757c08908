from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from voiceclone.interrupts import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_reason_and_handlers_are_put_back(number: signal.Signals) -> None:
    inherited = signal.signal(number, signal.default_int_handler)  # the tests themselves may run under nohup
    try:
        with StopRequest() as stop:
            assert stop.reason == ""
            os.kill(os.getpid(), number)
            assert stop.reason == number.name
            os.kill(os.getpid(), number)  # the same request, delivered twice
            assert stop.reason == number.name
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, inherited)


def test_the_time_budget_is_a_reason() -> None:
    with StopRequest(max_seconds=0.01) as stop:
        assert stop.reason == ""
        time.sleep(0.02)
        assert stop.reason == "time budget of 0.01 s"


def test_a_second_signal_exits_at_once() -> None:
    code = (
        "import time\nfrom voiceclone.interrupts import StopRequest\n"
        "with StopRequest():\n    print('ready', flush=True)\n    while True: time.sleep(0.05)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.terminate()
    time.sleep(1.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason == ""
    finally:
        signal.signal(signal.SIGHUP, before)
