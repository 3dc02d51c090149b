# SPDX-License-Identifier: Apache-2.0
"""Activity of this host that a test can find again, and what the record says of it."""
import calendar
import collections
import os
import subprocess
import threading
import time

from basics import until
from daemons import field

# An agent sees the whole host, other runs of these tests included: ours carry this.
TOKEN = os.urandom(6).hex()


def run(marker):
    """One exec with this argument, run to its end."""
    subprocess.run(["/bin/true", marker, TOKEN], check=True, timeout=10)


def execs_with(cli, text, seconds=60):
    """Execs of /bin/true, or of a test's own client, with text; our questions are execs with it, too."""
    rows = cli.events("--action", "exec", "--process", "true", "--process", "probe", "--text", text, seconds=seconds)
    return [row for row in rows if row["process"]["name"] == "probe" or TOKEN in row["process"]["args"]]


def markers(cli, marker, seconds=120):
    """How often each exec MARKER-N is stored."""
    found = collections.Counter()
    for row in execs_with(cli, marker, seconds):
        found.update(arg for arg in field(row, "process.args") if arg.startswith(marker + "-"))
    return found


def seconds_of(text):
    """Unix time of an RFC 3339 time with nanoseconds."""
    whole, fraction = text.rstrip("Z").split(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + fraction)


def outside_gaps(cli, times, where=None):
    """An exec happened somewhere between its two times: a gap (of that place) must reach into them."""
    gaps = [(seconds_of(field(row, "exhibit.gap.from")), seconds_of(field(row, "exhibit.gap.to")))
            for row in cli.events("--action", "gap")
            if field(row, "exhibit.gap.from") and where in (None, field(row, "exhibit.gap.where"))]
    return [(began, ended) for began, ended in times if not any(a <= ended and began <= b for a, b in gaps)]


def arrive(cli, marker, seconds=60):
    """One exec, and wait until it is stored: everything before it in its lane is, too."""
    run(marker)
    until(lambda: execs_with(cli, marker), seconds, f"the exec {marker}")


def settle(cli, marker="settled", seconds=60):
    arrive(cli, f"{marker}-{os.urandom(6).hex()}", seconds)


class Execs(threading.Thread):
    """Runs /bin/true MARKER-0, MARKER-1, ... as fast as it can; remembers when each one began and ended."""

    def __init__(self, marker, pause=0.0):
        super().__init__(daemon=True)
        self.marker, self.pause = marker, pause
        self.times = []
        self.stopping = False

    def run(self):
        while not self.stopping:
            began = time.time()
            pid = os.posix_spawn("/bin/true", ["true", f"{self.marker}-{len(self.times)}", TOKEN], {})
            os.waitpid(pid, 0)
            self.times.append((began, time.time()))
            if self.pause:
                time.sleep(self.pause)

    def end(self):
        self.stopping = True
        self.join(20)
        return len(self.times)
