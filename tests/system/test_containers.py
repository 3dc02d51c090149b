# SPDX-License-Identifier: Apache-2.0
"""Containers are known by name: real containerd and runc, from the cgroup's birth to the CLI's answer."""
from concurrent.futures import ThreadPoolExecutor

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
        container = pod.run("early", ["/bin/sh", "-c", "sleep 1000 & exec sleep 1001"])
        collector = module_lab.collector()
        module_lab.agent(collector, sense__fanotify=False, workload__host_prefix=containerd.root)
        cli = module_lab.cli(collector)
        rows = until(lambda: [r for r in execs(cli, container, "sleep") if field(r, "exhibit.existing")], 60, "the stock")
        assert all(named(r, pod, "early", containerd.image) for r in rows), rows
    finally:
        pod.remove()
