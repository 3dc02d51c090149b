# SPDX-License-Identifier: Apache-2.0
"""Containers are known by name: real containerd and runc, from the cgroup's birth to the CLI's answer."""
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from basics import count, until
from daemons import field

pytestmark = pytest.mark.usefixtures("need_bpf")


@pytest.fixture(scope="module")
def watched(module_lab, containerd):
    """An agent that sees this containerd as a host's, and the CLI."""
    collector = module_lab.collector()
    agent = module_lab.agent(collector, sense__fanotify=False, workload__host_prefix=containerd.root)
    return agent, module_lab.cli(collector)


def execs(cli, container, name=None):
    return [r for r in cli.events("--action", "exec", "--container", container)
            if name is None or field(r, "process.name") == name]


def named(row, pod, container_name, image):
    return (field(row, "orchestrator.resource.name") == pod.name and field(row, "orchestrator.namespace") == pod.namespace
            and field(row, "orchestrator.resource.id") == pod.uid and field(row, "container.name") == container_name
            and field(row, "container.image.name") == image and field(row, "container.runtime") == "containerd")


def test_containers_that_live_for_an_instant_are_named(watched, containerd):
    """All of them: pod, container and image stand in the exec of a program that ends at once."""
    _, cli = watched
    n = count(10, 200)
    pod = containerd.run_pod()
    try:
        def run(i):
            container = pod.run(f"true-{i}", ["/bin/true"])
            pod.wait(container)
            return container
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(run, range(n)))
    finally:
        pod.remove()
    unnamed = []
    for i, container in enumerate(made):
        rows = until(lambda c=container: execs(cli, c, "true"), 60, f"the exec of {container[:12]}")
        unnamed += [r for r in rows if not named(r, pod, f"true-{i}", containerd.image)]
    assert not unnamed, f"{len(unnamed)} of {n}: {unnamed[0]}"


def test_pod_after_a_restart_of_containerd_is_named(watched, containerd):
    _, cli = watched
    containerd.restart()
    pod = containerd.run_pod()
    try:
        container = pod.run("after", ["/bin/true"])
        pod.wait(container)
    finally:
        pod.remove()
    rows = until(lambda: execs(cli, container, "true"), 60, "the exec")
    assert all(named(r, pod, "after", containerd.image) for r in rows), rows


def test_container_that_ran_before_the_agent_is_named(module_lab, containerd):
    pod = containerd.run_pod()
    try:
        container = pod.run("early", ["/bin/sh", "-c", "/bin/sleep 1000 & exec /bin/sleep 1001"])
        collector = module_lab.collector()
        module_lab.agent(collector, sense__fanotify=False, workload__host_prefix=containerd.root)
        cli = module_lab.cli(collector)
        rows = until(lambda: [r for r in execs(cli, container, "sleep") if field(r, "exhibit.existing")], 60, "the stock")
        assert all(named(r, pod, "early", containerd.image) for r in rows), rows
    finally:
        pod.remove()


def test_exec_session_is_marked(watched, containerd):
    """What comes in from outside is; the container's own program, what it starts, and what a session starts, are not."""
    _, cli = watched
    pod = containerd.run_pod()
    try:
        container = pod.run("main", ["/bin/sh", "-c", "/bin/ls / >/dev/null; exec /bin/sleep 1000"])
        assert pod.exec(container, "/bin/sh", "-c", "/bin/id; exec /bin/seq 3")[0] == 0
        until(lambda: execs(cli, container, "seq") and execs(cli, container, "sleep"), 60, "the execs of both")
        rows = execs(cli, container)
    finally:
        pod.remove()
    marked = {(field(r, "process.name"), (field(r, "process.args") or [""])[-1]) for r in rows if field(r, "exhibit.exec_session")}
    plain = {field(r, "process.name") for r in rows if not field(r, "exhibit.exec_session")}
    assert marked == {("sh", "/bin/id; exec /bin/seq 3"), ("seq", "3")}, rows
    assert {"sh", "ls", "sleep", "id"} <= plain, rows


def test_cgroup_that_imitates_a_container_is_none(watched, containerd):
    """A cgroup with the name of a container, made elsewhere: its processes are of no container."""
    agent, cli = watched
    pod = containerd.run_pod()
    trees = [p for p in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")) if (p / "cgroup.procs").exists()]
    name = f"exhibit-imitation-{os.getpid()}"
    try:
        container = pod.run("victim", ["/bin/sleep", "1000"])
        made = trees[-1] / name / container
        made.mkdir(parents=True)
        try:
            subprocess.run(["sh", "-c", f"echo 0 >{made}/cgroup.procs && exec /bin/echo {name}"], check=True, timeout=60)
            row = until(lambda: [r for r in cli.events("--action", "exec", "--text", name) if field(r, "process.name") == "echo"],
                        60, "the imitator's exec")[0]
        finally:
            made.rmdir()
            made.parent.rmdir()
        assert field(row, "exhibit.cgroup.path") == f"/{name}/{container}", row
        for absent in ("container.id", "container.name", "orchestrator.resource.name", "orchestrator.resource.id"):
            assert field(row, absent) is None, row
        assert f"bears the name of a container of '{containerd.state}'" in agent.log
    finally:
        pod.remove()


def test_cgroup_inside_of_a_container_is_the_containers(watched, containerd):
    """Even when it is called like another container."""
    _, cli = watched
    pod = containerd.run_pod()
    try:
        victim = pod.run("victim", ["/bin/sleep", "1000"])
        container = pod.run("main", ["/bin/sleep", "1000"])
        tree = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified/cgroup.procs").exists() else Path("/sys/fs/cgroup")
        made = tree / pod.cgroup_parent.lstrip("/") / container / victim
        made.mkdir()
        try:
            subprocess.run(["sh", "-c", f"echo 0 >{made}/cgroup.procs && exec /bin/echo inside-{victim}"], check=True, timeout=60)
            row = until(lambda: [r for r in cli.events("--action", "exec", "--text", f"inside-{victim}")
                                 if field(r, "process.name") == "echo"], 60, "the exec")[0]
        finally:
            made.rmdir()
        assert field(row, "container.id") == container and field(row, "container.name") == "main", row
    finally:
        pod.remove()
