# SPDX-License-Identifier: Apache-2.0
"""What each kernel can: (class, events) to (state, tier, hook), as `exhibit-agent --probe` prints it."""

FULL = {
    ("exec", "exec"): ("attached", "T1", "tp_btf/sched_process_exec"),
    ("fork", "fork"): ("attached", "T1", "tp_btf/sched_process_fork"),
    ("exit", "exit"): ("attached", "T1", "tp_btf/sched_process_exit"),
    ("agent", "new cgroups"): ("attached", "T1", "tp_btf/cgroup_mkdir"),
    ("file_open", "create, open_write"): ("attached", "T1", "tp_btf/sys_exit"),
    ("tcp", "connect, listen, disconnect"): ("attached", "T1", "tp_btf/inet_sock_set_state"),
    ("tcp", "accept"): ("attached", "T1", "tp_btf/sys_exit"),
    ("udp", "udp_flow"): ("attached", "T1", "cgroup_skb"),
    ("exec", "existing processes"): ("attached", "T1", "iter.s/task"),
    ("tcp", "existing sockets"): ("attached", "T1", "iter/task_file"),
    # What posts no completion, or none with a descriptor.
    ("file_open", "io_uring: create, open_write"): ("partial", "T1", "tp_btf/io_uring_complete"),
    ("tcp", "io_uring: accept"): ("partial", "T1", "tp_btf/io_uring_complete"),
    # What is mounted in other namespaces has no mark.
    ("file_change", "modify, rename, unlink"): ("partial", "T0", "fanotify"),
    ("agent", "packets, newest"): ("attached", "T1", "cgroup_skb"),
}

# No tracepoint tells who sends and receives: a socket that was handed on is named for its creator.
CREATORS = {**FULL, ("agent", "packets, newest"): ("partial", "T1", "cgroup_skb")}

# Before 5.12 no atomic returns the old value: the plain objects, which try raw_tp first. No sleepable
# iterator; the registers of the current task are from 5.15.
PLAIN = {
    **FULL,
    ("exec", "exec"): ("attached", "T1", "raw_tp/sched_process_exec"),
    ("fork", "fork"): ("attached", "T1", "raw_tp/sched_process_fork"),
    ("exit", "exit"): ("attached", "T1", "raw_tp/sched_process_exit"),
    ("agent", "new cgroups"): ("attached", "T1", "raw_tp/cgroup_mkdir"),
    ("file_open", "create, open_write"): ("attached", "T1", "raw_tp/sys_exit"),
    ("tcp", "connect, listen, disconnect"): ("partial", "T1", "tp_btf/inet_sock_set_state"),
    ("tcp", "accept"): ("attached", "T1", "raw_tp/sys_exit"),
    ("exec", "existing processes"): ("partial", "T1", "iter/task"),
    # A completion does not tell which request it is of.
    ("file_open", "io_uring: create, open_write"): ("failed", "-", "none"),
    ("tcp", "io_uring: accept"): ("failed", "-", "none"),
    ("agent", "packets, newest"): ("failed", "-", "none"),
}

COVERAGE = {"6.1": CREATORS, "6.12": FULL, "5.10": PLAIN, "newest": FULL}
