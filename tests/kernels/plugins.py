# SPDX-License-Identifier: Apache-2.0
"""Volatility's plugins over an image of a guest: how what each shows is compared with what the guest said of itself
(guest_memory.sh, planted.c), and what the others die of. collector/volatility/README.md is this table for people."""
import datetime
import json

ROWS = {"linux.kallsyms.Kallsyms": 5000}  # enough of tens of thousands
# What these show is less than the guest said.
PERF_WITHOUT_ROWS = {"5.10", "6.1"}
FTRACE_WITHOUT_NAMES = {"6.12", "newest"}


def status(image, name):
    return dict(line.split(":\t", 1) for line in image.text(f"status.{name}").splitlines() if ":\t" in line)


def lasting(image, rows, pid="PID", comm="COMM"):
    """Processes that cannot have come or gone since the guest listed them."""
    told = {(int(p), name) for p, _, name in (line.partition(" ") for line in image.text("processes").splitlines())}
    lasting = {row for row in told if row[0] == 1 or row[1] in ("planted", "traced", "bash", "kthreadd")}
    shown = {(row[pid], row[comm]) for row in rows}
    assert len(lasting) == 5 and lasting <= shown, sorted(lasting - shown)


def planted_shown(image, rows):
    assert image.planted["pid"] in {row["PID"] for row in rows}


def some(image, rows):
    assert rows


def none(image, rows):
    """Nothing hidden, shared or changed is in this guest."""
    assert rows == []


def modules(image, rows, name="Module Name"):
    assert {row[name] for row in rows} == set(image.text("modules").split())


def module_lists(image, rows):
    modules(image, rows, "Name")
    assert all(row["In procfs"] and row["In sysfs"] and row["In scan"] for row in rows)


def addresses(image, rows):
    told = {(words[1], words[3]) for words in map(str.split, image.text("addresses").splitlines())}
    assert {(row["Interface"], f"{row['IP']}/{row['Prefix']}") for row in rows} == told and told


def links(image, rows):
    words = image.text("links").split()
    assert [(row["Interface"], row["MTU"], row["Qdisc"]) for row in rows] == \
        [(words[1].strip(":"), int(words[words.index("mtu") + 1]), words[words.index("qdisc") + 1])]
    assert set(rows[0]["Flags"].split(",")) == set(words[2].strip("<>").split(","))


def iomem(image, rows):
    shown = {(row["Start"], row["End"], row["Name"]) for row in rows}
    told = {(*(int(part, 16) for part in line.split(" : ")[0].split("-")), line.split(" : ")[1])
            for line in image.text("iomem").splitlines()}
    assert told <= shown, sorted(told - shown)


def known(image, rows, address, symbol):
    """Each address is that symbol's, as the guest's kallsyms has it."""
    pairs = [(row[address], row[symbol]) for row in rows if row[symbol] is not None]
    assert pairs and all(pair in image.symbols for pair in pairs), [p for p in pairs if p not in image.symbols][:5]


def idt(image, rows):
    known(image, rows, "Address", "Symbol")
    first, last = (next(at for at, name in image.symbols if name == edge) for edge in ("_text", "_end"))
    assert all(first <= row["Address"] < last for row in rows) and len(rows) > 15
    assert {row["Module"] for row in rows} <= {"__kernel__", None}  # a stub without a name of its own


def syscalls(image, rows):
    known(image, rows, "Handler Address", "Handler Symbol")
    assert len(rows) > 300


def netfilter(image, rows):
    """No module that filters is loaded: what there is, is of the kernel itself."""
    for row in rows:
        assert row["Module"] == "__kernel__" and row["Is Hooked"] == "False", row
        assert (row["Handler"], row["Symbol"]) in image.symbols


def kthreads(image, rows):
    told = {int(pid) for pid, parent in map(str.split, image.text("parents").splitlines()) if parent == "2"}
    shown = {row["TID"] for row in rows}
    gone = {row for row in told - shown}
    assert len(told & shown) > 0.8 * len(told), gone
    assert any(row["Thread Name"].startswith("kswapd") and row["Symbol"] == "kswapd" for row in rows)


def capabilities(image, rows):
    row = next(row for row in rows if row["Pid"] == image.planted["pid"])
    said = status(image, "planted")
    for column, line in (("cap_effective", "CapEff"), ("cap_permitted", "CapPrm"), ("cap_bounding", "CapBnd"),
                         ("cap_inheritable", "CapInh"), ("cap_ambient", "CapAmb")):
        assert (row[column] == "all") == (int(said[line], 16) != 0) and (row[column] == "") == (int(said[line], 16) == 0)


def page_cache(image, rows):
    inode, size, path = image.text("ready").split()
    row = next(row for row in rows if row["FilePath"] == path)
    assert (row["InodeNum"], row["InodeSize"], row["MountPoint"]) == (int(inode), int(size), "/data")


def libraries(image, rows):
    pid = int(status(image, "bash")["Pid"])
    told = {line.split()[-1] for line in image.text("maps.bash").splitlines() if ".so" in line}
    shown = {row["Path"] for row in rows if row["Pid"] == pid}
    shown, told = ({path.rpartition("/")[2] for path in paths} for paths in (shown, told))
    assert "libc.so.6" in shown and shown <= told  # a name in a page that is not resident cannot be shown


def vmcoreinfo(image, rows):
    shown = {f"{row['Key']}={row['Value']}" for row in rows}
    note = image.items / "vmcoreinfo.txt"
    told = note.read_text().splitlines() if note.exists() else []  # not told where there is no kcore
    assert all(line in shown for line in told if line.startswith(("OSRELEASE=", "BUILD-ID=", "PAGESIZE="))), told[:3]
    assert shown


def ptrace(image, rows):
    traced = image.planted["traced"]
    assert int(status(image, "traced")["TracerPid"]) == image.planted["pid"]
    assert [row["Tracer TID"] for row in rows if row["PID"] == traced] == [image.planted["pid"]]
    assert {row["PID"] for row in rows} == {traced, image.planted["pid"]}


def ftrace(image, rows):
    told = {line.split()[0] for line in image.text("functions").splitlines()}
    assert told == {"__x64_sys_sethostname"}
    assert [row["Callback"] for row in rows] == ["function_trace_call"]
    shown = {name for row in rows for name in (row["Hooked symbols"] or "").split(",")}
    assert shown == ({""} if image.kernel in FTRACE_WITHOUT_NAMES else told)


def tracepoints(image, rows):
    told = {line.partition(":")[2] for line in image.text("tracepoints").splitlines()}
    assert told == {"sched_process_hang"} and told <= {row["tracepoint"] for row in rows}


def perf_events(image, rows):
    """An event with a BPF program is planted."""
    shown = [(row["PID"], row["Event"], row["Short Program Name"]) for row in rows]
    assert shown == ([] if image.kernel in PERF_WITHOUT_ROWS else [(image.planted["pid"], "cpu_clock", "planted_prog")])


def programs(image, rows):
    """By the BPF route the image shows what took it, too."""
    ours = [("read_memory", "BPF_PROG_TYPE_SYSCALL")] if image.kind == "bpf" else []
    shown = [(row["Name"], row["Type"]) for row in rows]
    assert ("planted_prog", "BPF_PROG_TYPE_PERF_EVENT") in shown
    assert set(shown) == {("planted_prog", "BPF_PROG_TYPE_PERF_EVENT"), *ours}, shown


def ttys(image, rows):
    told = {line.split()[0] for line in image.text("consoles").splitlines()}
    assert told <= {row["Name"] for row in rows}
    known(image, rows, "Address", "Symbol")


def kallsyms(image, rows):
    shown = {(row["Addr"], row["SymbolName"]) for row in rows}
    assert len(rows) == ROWS["linux.kallsyms.Kallsyms"] and shown <= image.symbols, sorted(shown - image.symbols)[:5]


def boot_time(image, rows):
    told = int(image.text("btime").split()[1])
    assert all(abs(datetime.datetime.fromisoformat(row["Boot Time"]).timestamp() - told) < 2 for row in rows) and rows


def mounts(image, rows):
    told = {(words[4], words[words.index("-") + 1]) for words in map(str.split, image.text("mountinfo").splitlines())}
    assert told <= {(row["MOUNT_POINT"], row["FSTYPE"]) for row in rows}
    assert "planted-mount" in json.dumps(rows)


CHECKS = {
    "linux.pslist.PsList": lasting, "linux.pstree.PsTree": lasting, "linux.psscan.PsScan": lasting,
    "linux.pidhashtable.PIDHashTable": lasting, "linux.psaux.PsAux": planted_shown,
    "linux.lsmod.Lsmod": modules, "linux.malware.modxview.Modxview": module_lists,
    "linux.sockstat.Sockstat": planted_shown, "linux.lsof.Lsof": planted_shown, "linux.proc.Maps": planted_shown,
    "linux.bash.Bash": some, "linux.elfs.Elfs": planted_shown, "linux.malware.malfind.Malfind": planted_shown,
    "linux.envars.Envars": planted_shown, "linux.kmsg.Kmsg": some, "linux.boottime.Boottime": boot_time,
    "linux.mountinfo.MountInfo": mounts, "linux.malware.check_syscall.Check_syscall": syscalls,
    "linux.ip.Addr": addresses, "linux.ip.Link": links, "linux.iomem.IOMem": iomem,
    "linux.malware.check_idt.Check_idt": idt, "linux.malware.check_modules.Check_modules": none,
    "linux.malware.check_creds.Check_creds": none, "linux.malware.netfilter.Netfilter": netfilter,
    "linux.kthreads.Kthreads": kthreads, "linux.capabilities.Capabilities": capabilities,
    "linux.pagecache.Files": page_cache, "linux.library_list.LibraryList": libraries,
    "linux.vmcoreinfo.VMCoreInfo": vmcoreinfo, "linux.ptrace.Ptrace": ptrace,
    "linux.tracing.ftrace.CheckFtrace": ftrace, "linux.tracing.tracepoints.CheckTracepoints": tracepoints,
    "linux.tracing.perf_events.PerfEvents": perf_events, "linux.ebpf.EBPF": programs,
    "linux.malware.hidden_modules.Hidden_modules": none, "linux.malware.check_afinfo.Check_afinfo": none,
    "linux.malware.tty_check.Tty_Check": ttys, "linux.kallsyms.Kallsyms": kallsyms,
    "linux.pscallstack.PsCallStack": some, "linux.sockscan.Sockscan": some,
}
