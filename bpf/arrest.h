/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What bpf/arrest.bpf.c and agent/acquire/arrest_watch.c both know. */
#ifndef BPF_ARREST_H
#define BPF_ARREST_H

#define ARREST_PATH_MAX 4096 /* bytes of a pattern */
#define ARREST_STOPS_MAX 64
#define ARREST_PROTECTED_MAX 512

enum arrest_match { ARREST_MATCH_PATH, ARREST_MATCH_PREFIX, ARREST_MATCH_FILE };

/* An executable by the kernel's numbers: device is major << 20 | minor. */
struct arrest_file {
	unsigned long long inode;
	unsigned int device, pad;
};

/* A process that was told to stop. Kept where the agent's guard sees it when the agent is gone. */
struct arrest_stop {
	unsigned int pid; /* 0: none, or somebody else lets it go */
	unsigned int pad;
	unsigned long long boottime_ns;
};

#endif
