# SPDX-License-Identifier: Apache-2.0
"""Debian's auditd beside Exhibit: unpacked from its packages (nothing is installed, no service starts),
told to record the same classes, and to wait rather than to lose. Whoever uses audit already is left
alone."""
import os
import re
import subprocess
import time
from pathlib import Path

RULES = """
-D
-b 8192
--backlog_wait_time 60000
-f 1
-r 0
-a always,exit -F arch=b64 -S execve,execveat
-a always,exit -F arch=b64 -S fork,vfork,clone,clone3
-a always,exit -F arch=b64 -S exit_group
-a always,exit -F arch=b64 -S open -F a1&03 -F success=1
-a always,exit -F arch=b64 -S openat -F a2&03 -F success=1
-a always,exit -F arch=b64 -S creat,openat2 -F success=1
-a always,exit -F arch=b64 -S rename,renameat,renameat2,unlink,unlinkat
-a always,exit -F arch=b64 -S connect,accept,accept4,listen
-e 1
"""

CONFIG = """
local_events = yes
write_logs = yes
log_file = {dir}/log/audit.log
log_group = root
log_format = ENRICHED
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 8
num_logs = 5
priority_boost = 4
name_format = NONE
max_log_file_action = ROTATE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
use_libwrap = no
q_depth = 2000
overflow_action = IGNORE
max_restarts = 10
plugin_dir = {dir}/plugins
end_of_event_timeout = 2
"""


class Unavailable(Exception):
    """Why auditd cannot be measured here: a sentence."""


def quiet(*command, **kwargs):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **kwargs)


class Auditd:
    def __init__(self, folder, cpu):
        self.dir, self.cpu, self.process = Path(folder), cpu, None
        self.env = dict(os.environ)

    def unpack(self):
        archives = self.dir / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        got = quiet("apt-get", "install", "-y", "-qq", "--download-only", "--reinstall", "--no-install-recommends",
                    "-o", f"Dir::Cache::archives={archives}", "auditd", "libauparse0")
        debs = list(archives.glob("*.deb"))
        if not any(d.name.startswith("auditd_") for d in debs):
            raise Unavailable("its packages cannot be had: " + (got.stderr.strip().splitlines() or ["?"])[-1])
        for deb in debs:
            quiet("dpkg", "-x", deb, self.dir / "root")
        libraries = [d for d in (self.dir / "root").glob("**/*-linux-gnu") if d.is_dir()]
        self.env["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))

    def control(self, *args):
        return quiet(self.dir / "root/sbin/auditctl", *args, env=self.env)

    def status(self, name):
        found = re.search(rf"^{name} (\d+)$", self.control("-s").stdout, re.M)
        return int(found.group(1)) if found else None

    def start(self):
        self.unpack()
        if self.status("enabled") is None:
            raise Unavailable("this kernel has no audit, or not here: " + self.control("-s").stderr.strip())
        rules = [r for r in self.control("-l").stdout.splitlines() if r not in ("No rules", "-a never,task")]
        if self.status("enabled") == 2 or self.status("pid") or rules:
            raise Unavailable("audit is in use on this host and is left alone")
        for name in ("log", "plugins"):
            (self.dir / name).mkdir(exist_ok=True, mode=0o700)
        (self.dir / "auditd.conf").write_text(CONFIG.format(dir=self.dir))
        (self.dir / "auditd.conf").chmod(0o640)
        self.process = subprocess.Popen(
            ["taskset", "-c", str(self.cpu), self.dir / "root/sbin/auditd", "-n", "-s", "nochange", "-c", self.dir],
            env=self.env, stdout=subprocess.DEVNULL, stderr=(self.dir / "stderr").open("w"))
        time.sleep(1)
        if self.process.poll() is not None:
            raise Unavailable("auditd does not start: " + (self.dir / "stderr").read_text().strip()[-200:])
        for rule in RULES.split("\n"):
            if rule:
                done = self.control(*rule.split())
                if done.returncode:
                    self.stop()
                    raise Unavailable(f"the rule '{rule}' is refused: {done.stderr.strip()}")

    def lost(self):
        return self.status("lost")

    def stop(self):
        """Off, and no tax left on tasks to come: `-e 0` alone leaves one (until the next boot, or -D)."""
        self.control("-D")
        self.control("-e", "0")
        self.control("-a", "never,task")
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
