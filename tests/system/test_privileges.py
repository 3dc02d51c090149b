# SPDX-License-Identifier: Apache-2.0
"""What each process of the agent may do, read from /proc while it runs."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from basics import until

# capabilities(7): the bits that sensing needs (agent/privilege.c says why), and the launcher's.
SENSE = {1: "DAC_OVERRIDE", 2: "DAC_READ_SEARCH", 12: "NET_ADMIN", 19: "SYS_PTRACE", 21: "SYS_ADMIN",
         23: "SYS_NICE", 24: "SYS_RESOURCE", 38: "PERFMON", 39: "BPF"}
# What acquirers may need (agent/acquire/table.c has the row of each).
ACQUIRERS = {2: "DAC_READ_SEARCH", 3: "FOWNER", 5: "KILL", 12: "NET_ADMIN", 13: "NET_RAW", 14: "IPC_LOCK",
             17: "SYS_RAWIO", 19: "SYS_PTRACE", 21: "SYS_ADMIN", 24: "SYS_RESOURCE", 34: "SYSLOG", 38: "PERFMON",
             39: "BPF"}
LAUNCHER = ACQUIRERS | {6: "SETGID", 7: "SETUID", 8: "SETPCAP"}
USER = 64123


@pytest.fixture(scope="module")
def agent(module_lab):
    if os.geteuid() != 0:
        pytest.skip("tracing a host takes root")
    agent = module_lab.agent(module_lab.collector(), uplink__user=str(USER))
    agent.pids = {"sense": agent.pid, "launcher": agent.launcher(), "uplink": agent.uplink()}
    until(lambda: status(agent.pids["uplink"])["Seccomp"] == "2", 10, "the uplink's seccomp filter")
    return agent


def status(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line)


def bits(text):
    value = int(text, 16)
    return {bit for bit in range(64) if value >> bit & 1}


@pytest.mark.parametrize("process,allowed", [("sense", SENSE), ("launcher", LAUNCHER), ("uplink", {})])
def test_capabilities(process, allowed, agent):
    pid = agent.pids[process]
    for thread in os.listdir(f"/proc/{pid}/task"):
        said = status(f"{pid}/task/{thread}")
        assert bits(said["CapEff"]) <= set(allowed)
        assert bits(said["CapPrm"]) <= set(allowed)
        assert bits(said["CapInh"]) == bits(said["CapAmb"]) == set()


@pytest.mark.parametrize("process", ["sense", "launcher", "uplink"])
def test_no_new_privileges(process, agent):
    assert status(agent.pids[process])["NoNewPrivs"] == "1"


@pytest.mark.parametrize("process", ["sense", "uplink"])
def test_seccomp_filters_every_thread(process, agent):
    for thread in Path(f"/proc/{agent.pids[process]}/task").iterdir():
        assert "Seccomp:\t2" in (thread / "status").read_text()


def test_uplink_is_another_user_without_groups(agent):
    said = status(agent.pids["uplink"])
    assert said["Uid"].split() == [str(USER)] * 4
    assert said["Gid"].split() == [str(USER)] * 4
    assert said["Groups"].strip() == ""
    assert bits(said["CapBnd"]) == set()


def network_sockets(pid):
    """Sockets of IPv4, IPv6, packet or vsock among the descriptors of a process."""
    inodes = {line.split()[column] for table, column in (("tcp", 9), ("tcp6", 9), ("udp", 9), ("udp6", 9),
                                                         ("raw", 9), ("raw6", 9), ("packet", 8))
              for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]}
    links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return [link for link in links if link.startswith("socket:[") and link[8:-1] in inodes]


def test_only_the_uplink_holds_a_network_socket(agent):
    until(lambda: network_sockets(agent.pids["uplink"]), 20, "the uplink's connection")
    assert network_sockets(agent.pids["sense"]) == []
    assert network_sockets(agent.pids["launcher"]) == []


def test_uplink_holds_no_bpf_and_no_journal(agent):
    links = [os.readlink(fd) for fd in Path(f"/proc/{agent.pids['uplink']}/fd").iterdir()]
    assert not [link for link in links if "bpf" in link or "fanotify" in link or str(agent.dir) in link
                and not link.endswith(".log")]


def test_uplink_cannot_be_traced_by_its_user(agent):
    """PR_SET_DUMPABLE 0: another process of the same user reads neither its memory nor its key."""
    read = subprocess.run(["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "cat",
                           f"/proc/{agent.pids['uplink']}/maps"], capture_output=True, timeout=10)
    assert read.returncode != 0


def test_no_descriptor_is_inherited(agent):
    """But standard input, output and error: what started the agent may have left some open."""
    links = {int(fd.name): os.readlink(fd) for fd in Path(f"/proc/{agent.pids['uplink']}/fd").iterdir()}
    kept = {fd: link for fd, link in links.items() if fd > 2}
    assert all(link.startswith(("socket:", "anon_inode:", "pipe:")) for link in kept.values()), kept


def test_uplink_outlives_the_terminals_signals(need_bpf, lab):
    """Ctrl-C reaches all three: what is sealed is sent first all the same."""
    agent = lab.agent(lab.collector())
    uplink = agent.uplink()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(uplink, number)
    time.sleep(1)  # a death would be noticed at once
    assert agent.uplink() == uplink
    os.kill(uplink, signal.SIGHUP)  # how the launcher has it begin anew
    until(lambda: agent.uplink() not in (None, uplink), 10, "another uplink")


def test_keys_and_journal_are_root_only(agent):
    for folder, _, files in os.walk(agent.state):
        assert os.stat(folder).st_mode & 0o077 == 0
        for name in files:
            assert os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0


def test_sense_death_takes_the_others_along(need_bpf, lab):
    agent = lab.agent(lab.collector())
    pids = [agent.launcher(), agent.uplink()]
    agent.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "the end of launcher and uplink")
