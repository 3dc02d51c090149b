# SPDX-License-Identifier: Apache-2.0
"""Debian's cloud kernels, fetched by a private apt, and a guest of each in QEMU's software emulation.

Everything lies under BUILD/kernels: apt's lists and packages, one folder per kernel. Nothing of the
machine's own apt state is changed."""
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

BUILD = Path(os.environ.get("EXHIBIT_BUILD", "build")).resolve()
TOP = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = BUILD / "kernels"

# In which of Debian's releases a kernel lies.
SUITES = {"6.1": "bookworm", "6.12": "trixie", "5.10": "bullseye", "newest": "sid"}

MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
META = "linux-image-cloud-amd64"
MODULES = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
PROGRAMS = {  # in the guest: on this machine
    "/usr/bin/bash": "bash", "/usr/bin/setpriv": "setpriv", "/usr/bin/flock": "flock", "/usr/sbin/bpftool": "bpftool", "/x/bin/exhibit": BUILD / "bin/exhibit",
    "/x/bin/exhibit-agent": BUILD / "bin/exhibit-agent", "/x/bin/exhibit-collector": BUILD / "bin/exhibit-collector",
    "/usr/bin/workload": CACHE / "workload",
}
NEEDED = ("qemu-system-x86_64", "busybox", "cpio", "mke2fs", "xz", "zstd", "flock", "bpftool")
DISK_BYTES = 512 << 20
RESULT_BYTES = 64 << 20
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def call(*argv, seconds=60, **kwargs):
    """Run it; its output as text. What it said on failure is in the error."""
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=seconds,
                          env={**os.environ, "PATH": PATH, "LC_ALL": "C"}, **kwargs)
    assert done.returncode == 0, f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}"
    return done.stdout


# ---- packages ----------------------------------------------------------------------------------------

class Apt:
    """apt with lists, cache and sources of its own, for one release."""

    def __init__(self, suite):
        self.dir = CACHE / "apt" / suite
        for folder in ("lists/partial", "cache/archives/partial", "debs"):
            (self.dir / folder).mkdir(parents=True, exist_ok=True)
        (self.dir / "status").touch()
        (self.dir / "sources.list").write_text(f"deb [arch=amd64 signed-by={KEYRING}] {MIRROR} {suite} main\n")
        self.options = [f"-o{name}={value}" for name, value in {
            "Dir::Etc::SourceList": self.dir / "sources.list", "Dir::Etc::SourceParts": "-",
            "Dir::State": self.dir, "Dir::State::status": self.dir / "status", "Dir::Cache": self.dir / "cache",
            "APT::Architecture": "amd64", "APT::Sandbox::User": "root", "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false", "Acquire::Retries": "3",
        }.items()]

    def update(self):
        call("apt-get", *self.options, "-qq", "update", seconds=300)

    def depends(self, package):
        text = call("apt-cache", *self.options, "show", "--no-all-versions", package)
        line = re.search(r"^Depends: (.*)$", text, re.M)
        return re.findall(r"\blinux-(?:image|binary|modules)-[^\s,|]*-cloud-amd64", line.group(1)) if line else []

    def download(self, package):
        call("apt-get", *self.options, "-qq", "download", package, seconds=600, cwd=self.dir / "debs")


def fetch(name):
    """The folder with one kernel's packages unpacked; from the cache when it is there."""
    target = CACHE / name
    if (target / "complete").exists():
        return target
    apt = Apt(SUITES[name])
    apt.update()
    shutil.rmtree(target, ignore_errors=True)
    shutil.rmtree(apt.dir / "debs")
    (apt.dir / "debs").mkdir()
    (target / "root").mkdir(parents=True)
    image = apt.depends(META)[0]
    for package in [image, *apt.depends(image)]:
        apt.download(package)
    for deb in (apt.dir / "debs").glob("*.deb"):
        call("dpkg-deb", "-x", deb, target / "root", seconds=120)
    (target / "complete").touch()
    return target


# ---- a guest -----------------------------------------------------------------------------------------

def only(found, what):
    found = list(found)
    assert found, f"no {what} in the kernel's packages"
    return found[0]


def unpacked_module(kernel, module, target):
    """One driver, not compressed; kernels that have it built in have no file."""
    for path in (kernel / "root").rglob(f"{module}.ko*"):
        data = path.read_bytes() if path.suffix == ".ko" else \
            subprocess.run([{".xz": "xz", ".zst": "zstd"}[path.suffix], "-dc", path], capture_output=True, check=True,
                           timeout=60).stdout
        (target / f"{module}.ko").write_bytes(data)


def make_initramfs(kernel, ret):
    tree = kernel / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "dev", "proc", "sys", "disk", "modules"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox", path=PATH), tree / "bin/busybox")
    for applet in call("busybox", "--list").split():
        if not (tree / "bin" / applet).exists():
            (tree / "bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init.sh", tree / "init")
    for module in MODULES:
        unpacked_module(kernel, module, tree / "modules")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with open(ret, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=out, cwd=tree,
                       check=True, timeout=60)


def libraries(program):
    """What the dynamic linker would load, itself included."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=20)
    return [line.split("=>")[-1].split()[0] for line in done.stdout.splitlines() if "/" in line]


def add_file(tree, path, source):
    target = tree / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


class Scenario:
    """What a guest is and what it does: the script is its process 1, and leaves its results in /out."""

    def __init__(self, name, script, programs, memory_mib=1024, cpu="max", disk=DISK_BYTES, result=RESULT_BYTES,
                 words="", modules=()):
        self.name, self.script, self.programs, self.memory_mib, self.cpu = name, script, programs, memory_mib, cpu
        self.disk, self.result, self.words = disk, result, words  # words: in the guest's /proc/cmdline
        self.modules = modules  # of the kernel, in /x/modules


RUN = Scenario("run", "guest.sh", PROGRAMS)


def make_disk(kernel, folder, scenario, ret):
    """The guest's root: the programs, their libraries, busybox for the rest."""
    tree = folder / "disk"
    shutil.rmtree(tree, ignore_errors=True)
    for link, target in (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        (tree / target).mkdir(parents=True)
        (tree / link).symlink_to(target)
    for path in ("dev", "proc", "sys", "run", "tmp", "out", "root", "etc", "x", "deploy/run", "x/modules"):
        (tree / path).mkdir(parents=True)
    for path, source in scenario.programs.items():
        source = source if isinstance(source, Path) else Path(shutil.which(source, path=PATH))
        add_file(tree, path, source)
        for library in libraries(source):
            add_file(tree, library, library)
    add_file(tree, "/usr/bin/busybox", shutil.which("busybox", path=PATH))
    for applet in call("busybox", "--list").split():
        if not (tree / "usr/bin" / applet).exists():
            (tree / "usr/bin" / applet).symlink_to("busybox")
    add_file(tree, "/deploy/run/run.sh", TOP / "deploy/run/run.sh")
    add_file(tree, "/guest.sh", HERE / scenario.script)
    for module in scenario.modules:
        unpacked_module(kernel, module, tree / "x/modules")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")
    call("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, ret, f"{scenario.disk >> 10}k", seconds=120)
    shutil.rmtree(tree)


def boot(name, scenario=RUN, seconds=240):
    """Boot the kernel, run the scenario there; the folder with what it left in /out."""
    kernel = fetch(name)
    folder = kernel / scenario.name
    folder.mkdir(exist_ok=True)
    image = only((kernel / "root").rglob("vmlinuz*"), "image")
    initramfs, disk, result, console = (folder / f for f in ("initramfs.cpio", "disk.img", "result.tar", "console"))
    make_initramfs(kernel, initramfs)
    for old in (disk, result):
        old.unlink(missing_ok=True)
    make_disk(kernel, folder, scenario, disk)
    with open(result, "wb") as f:
        f.truncate(scenario.result)
    drives = [f"file={path},format=raw,if=virtio,cache=unsafe" for path in (disk, result)]
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", scenario.cpu, "-smp", "2",
            "-m", str(scenario.memory_mib),
            "-kernel", image, "-initrd", initramfs, "-append", f"console=ttyS0 quiet panic=-1 {scenario.words}",
            "-drive", drives[0], "-drive", drives[1], "-nic", "none", "-display", "none",
            "-serial", f"file:{console}", "-monitor", "none", "-no-reboot"]
    try:
        call(*argv, seconds=seconds)
    except subprocess.TimeoutExpired as e:
        raise AssertionError(f"the guest of {name} did not end within {seconds} s:\n{tail(console)}") from e
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    try:
        with tarfile.open(result) as archive:
            archive.extractall(out)
    except tarfile.ReadError:
        pass  # the guest never came to its end: the console says more
    disk.unlink()
    result.unlink()
    assert (out / "end").exists(), f"the guest of {name} did not end by itself:\n{tail(console)}"
    return out


def tail(path, n=30):
    return "\n".join(path.read_text(errors="replace").splitlines()[-n:]) if path.exists() else "(nothing)"
