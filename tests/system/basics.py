# SPDX-License-Identifier: Apache-2.0
"""What every system test needs: where the build is, how much to do, how to wait."""
import os
import sys
import time
from pathlib import Path

BUILD = Path(os.environ.get("EXHIBIT_BUILD", "build")).resolve()
BIN = BUILD / "bin"
FULL = os.environ.get("EXHIBIT_FULL") == "1"

sys.path.insert(0, str(BUILD / "gen" / "python"))


def count(default, full):
    """How often to do it: the default run stays short, EXHIBIT_FULL=1 does what the promise says."""
    return full if FULL else default


class TooLate(AssertionError):
    """A wait ended without what it waited for."""


def until(check, seconds=20, what="it"):
    """The first true value of check(), asked again and again."""
    end = time.monotonic() + seconds
    pause = 0.02
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise TooLate(f"waited {seconds} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)
