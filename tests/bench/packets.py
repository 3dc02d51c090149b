# SPDX-License-Identifier: Apache-2.0
"""Captures side by side: the same datagrams into a device of a network namespace of their own, while one tool captures
there with the same snap length; and what the flight recorder costs each packet."""
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

RATES = ((128, 50000), (128, 150000), (1400, 50000))  # bytes, a second
SECONDS, SNAP = 5, 128
FROM, TO = "10.232.77.1", "10.232.77.2"


class Net:
    def __init__(self):
        name = f"exhbench{os.getpid()}"
        self.names, self.holder = (name + "a", name + "b"), None
        for space in self.names:
            subprocess.run(["ip", "netns", "add", space], check=True)
        subprocess.run(["ip", "link", "add", "veth0", "netns", self.names[0], "type", "veth", "peer", "name", "veth0",
                        "netns", self.names[1]], check=True)
        for space, address in zip(self.names, (FROM, TO)):
            for words in (("addr", "add", f"{address}/24", "dev", "veth0"), ("link", "set", "veth0", "up"),
                          ("link", "set", "lo", "up")):
                subprocess.run(["ip", "-n", space, *words], check=True)
        self.holder = subprocess.Popen(self.inside(1, "sleep", "3600"))
        time.sleep(0.5)

    def inside(self, side, *words):
        return ["nsenter", f"--net=/var/run/netns/{self.names[side]}", *map(str, words)]

    def inode(self):
        return os.stat(f"/var/run/netns/{self.names[1]}").st_ino

    def close(self):
        if self.holder:
            self.holder.kill()
            self.holder.wait()
        for space in self.names:
            subprocess.run(["ip", "netns", "del", space], check=False)


def tools(net, build, folder):
    """Name, command, file; the snap lengths are the same."""
    rows = [("exhibit", ["taskset", "-c", "1", str(build / "tests/driver_acquire"), "packets", str(folder / "ours"),
                         f"net-ns={net.inode()}", "interface=veth0", f"snap={SNAP}", "filter=udp"],
             folder / "ours/capture.pcapng")]
    if shutil.which("tcpdump"):
        rows.append(("tcpdump", net.inside(1, "taskset", "-c", "1", "tcpdump", "-Z", "root", "-qni", "veth0", "-B", 32768,
                                           "-s", SNAP, "-w", folder / "tcpdump", "udp"), folder / "tcpdump"))
    if shutil.which("dumpcap"):
        rows.append(("dumpcap", net.inside(1, "taskset", "-c", "1", "dumpcap", "-qi", "veth0", "-B", 32, "-s", SNAP, "-w",
                                           folder / "dumpcap", "-f", "udp"), folder / "dumpcap"))
    if shutil.which("netsniff-ng"):
        rows.append(("netsniff-ng", net.inside(1, "taskset", "-c", "1", "netsniff-ng", "-si", "veth0", "-S", "32MiB", "-o",
                                               folder / "netsniff.pcap", "udp"), folder / "netsniff.pcap"))
    return rows


def packets_in(path):
    done = subprocess.run(["capinfos", "-rTmc", path], capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout.split(",")[-1])


def cpu_ns(pid):
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def one(net, build, command, path, size, rate):
    """Loss in percent, CPU nanoseconds of the tool per packet, its start and its end left out."""
    path.unlink(missing_ok=True)
    tool = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    before = cpu_ns(tool.pid)
    sent = int(subprocess.run(net.inside(0, "taskset", "-c", "0", build / "bench/datagrams", TO, 9, size, rate, SECONDS),
                              stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout.split()[0])
    time.sleep(1)
    spent = cpu_ns(tool.pid) - before
    tool.send_signal(signal.SIGTERM if "driver_acquire" in str(command) else signal.SIGINT)
    tool.wait(60)
    return 100 * (1 - packets_in(path) / sent), spent / sent, sent


def recorder_ns(net, build):
    """Of one run of the recorder's program, the statistics' own cost included."""
    recorder = subprocess.Popen([build / "tests/driver_recorder", str(64 << 20), "96"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
    recorder.stdout.readline()
    was = Path("/proc/sys/kernel/bpf_stats_enabled").read_text()
    Path("/proc/sys/kernel/bpf_stats_enabled").write_text("1")
    try:
        subprocess.run(net.inside(0, "taskset", "-c", "0", build / "bench/datagrams", TO, 9, 128, 100000, 3), check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        shown = json.loads(subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, timeout=60,
                                          check=True).stdout)
    finally:
        Path("/proc/sys/kernel/bpf_stats_enabled").write_text(was)
        recorder.communicate(timeout=30)
    rows = [p for p in shown if p.get("name") == "exh_rec_out" and p.get("run_cnt", 0) > 10000]
    return sum(p["run_time_ns"] for p in rows) / sum(p["run_cnt"] for p in rows)


def measure(table, build, folder):
    folder.mkdir(parents=True, exist_ok=True)
    net = Net()
    try:
        table.title(f"packets: {SECONDS} s of UDP into one device, {SNAP} bytes of each kept: loss, CPU per packet")
        for size, rate in RATES:
            found = {name: one(net, build, command, path, size, rate)
                     for name, command, path in tools(net, build, folder)}
            loss, cpu, sent = found.pop("exhibit")
            beside = ", ".join(f"{name} {l:.1f} % {ns:.0f} ns" for name, (l, ns, _) in found.items())
            met = all(cpu <= ns / (4 if name == "dumpcap" else 1) and (loss <= 0 or l > 0)
                      for name, (l, ns, _) in found.items() if name in ("tcpdump", "dumpcap"))
            table.add(f"{size} B at {sent // SECONDS} a second", f"{loss:.1f} % {cpu:.0f} ns", beside=beside,
                      aim="tcpdump's CPU, 1/4 dumpcap's", met=met if found else None)
        ns = recorder_ns(net, build)
        table.add("flight recorder, each packet", f"{ns:.0f} ns", aim="<= 250 ns", met=ns <= 250)
    finally:
        net.close()
        shutil.rmtree(folder, ignore_errors=True)
