"""End in the way that the first argument names; note each start, with the memory that the job was given."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

kind, output, memory = sys.argv[1:]
starts = Path(f"{kind}.starts")
with starts.open("a") as handle:
    handle.write(f"{memory}\n")
count = len(starts.read_text().split())
if kind == "saved" and count < 4:
    sys.exit(75)
if kind == "wrong":
    sys.exit(1)
if kind == "usage":
    sys.exit(2)
if kind == "killed" and count == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "memory" and count == 1:
    held = b"x" * 700_000_000
    time.sleep(60)
if kind == "slow" and count == 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if kind == "never":
    sys.exit(75)
Path(output).write_text("made\n")
