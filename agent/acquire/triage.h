/* SPDX-License-Identifier: Apache-2.0 */
/* Triage: the facts of a host or container in order of volatility (RFC 3227, 2.1), as one archive laid out like
 * those of UAC, which examiners' tools open: "[root]/..." holds files under their own paths, live_response/ what
 * /proc, /sys and netlink say, bodyfile/ the metadata of the important folders. No program is run.
 *
 * A bundle is made by steps, rows of a table sorted by rank. Each is bounded in bytes, entries and time; what a
 * bound or a fault left out stands in exhibit.log and, by step, in the item triage.order.jsonl. One thread. */
#ifndef ACQUIRE_TRIAGE_H
#define ACQUIRE_TRIAGE_H

#include <stdio.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/tar.h"
#include "agent/acquire/target.h"
#include "proto/json.h"

#define TRIAGE_TEXT_MAX MiB(16) /* of one file of /proc or /sys */
#define TRIAGE_LINES_MAX MiB(16) /* of one table that we make */

struct triage {
	const struct acquire_request *r;
	struct output *o;
	struct tar *tar;
	struct target target;
	uint64_t deadline_ns; /* boot time: the step under way ends */
	bool late; /* it was reached */
	uint64_t entries, bytes, lacking; /* of the step under way */
	FILE *log; /* exhibit.log */
	uint64_t logged; /* lines of it */
	bool broken; /* the archive ends in the middle of an entry */
	uint64_t atime_touched; /* files whose owner did not let us read without a trace */
};

struct triage_step {
	unsigned int rank; /* of volatility: 1 goes first */
	const char *name,
		*holds; /* words of triage.order.jsonl; holds: "network", "memory", "temporary files",
				   * "files", "disk", "logs" */
	unsigned int seconds; /* at most */
	bool host_only; /* says nothing of a single container */
	/* 0 also when much could not be read; -ECANCELED, -EPIPE and -ENOMEM end the bundle. */
	int (*run)(struct triage *t, struct error *e);
};

/* NULL past the end. */
const struct triage_step *triage_step_at(size_t i);

/* One file each. */
int triage_network(struct triage *t, struct error *e);
int triage_processes(struct triage *t, struct error *e);
int triage_kernel(struct triage *t, struct error *e);
int triage_temporary(struct triage *t, struct error *e);
int triage_files(struct triage *t, struct error *e);
int triage_logs(struct triage *t, struct error *e);
int triage_bodyfile(struct triage *t, struct error *e);

/* ---- for the steps ----------------------------------------------------------------------------------- */

/* The step's time is up, or the order was told to stop. */
bool triage_over(struct triage *t);
/* A line of exhibit.log. lacking: something is missing from the bundle. */
void triage_tell(struct triage *t, bool lacking, const char *format, ...) PRINTF(3, 4);
/* An entry of bytes that are known whole. name: of ours, no hostile part. */
MUST_CHECK int triage_put(struct triage *t, const char *name, const void *data, size_t len,
			  struct error *e);
/* At most max bytes of a file of /proc or /sys, whose size nobody tells. malloc'ed, NUL-terminated. false: not
 * there, or not to be read; errno says which. */
bool triage_read(int dir, const char *name, size_t max, uint8_t **ret, size_t *ret_len,
		 bool *ret_cut);
/* Both: dir/name becomes the entry. One that is not there is no fault (kernels differ), an empty one no entry. */
MUST_CHECK int triage_put_proc(struct triage *t, int dir, const char *name, const char *entry,
			       struct error *e);
/* An open regular file as an entry with all its metadata; path: its own, below [root]. from: where its data is
 * read from on (0, but for a log of which the end is enough). */
struct triage_file {
	int fd;
	struct stat st;
	const char *path; /* bytes, NUL-terminated, without a leading slash */
	uint64_t from;
};
MUST_CHECK int triage_put_file(struct triage *t, const char *below, const struct triage_file *f,
			       struct error *e);
/* A directory, link, device or pipe: metadata alone. */
MUST_CHECK int triage_put_special(struct triage *t, const char *below, const char *path,
				  const struct stat *st, const char *link, size_t link_len,
				  struct error *e);
/* SHA-256 of an open file of at most max bytes; *ret_bytes: how many. false: unreadable, longer, or too late. */
bool triage_hash(struct triage *t, int fd, uint64_t max, struct seal_hash *ret,
		 uint64_t *ret_bytes);
/* For reading, without a trace in the file's access time where the kernel allows it. name in dir, never through a
 * symbolic link, never a device: what is no regular file is -1 with errno ELOOP. */
int triage_open(struct triage *t, int dir, const char *name, struct stat *ret);

/* A table as JSON lines, kept until it is whole (an archive wants sizes first). */
struct triage_lines {
	FILE *out;
	char *text;
	size_t len;
	struct json json;
	uint64_t rows, dropped;
};
MUST_CHECK int triage_lines_open(struct triage_lines *l, struct error *e);
/* Begins a row in l->json; false: no room any more, which is counted. */
bool triage_row(struct triage_lines *l);
void triage_row_end(struct triage_lines *l);
/* The entry; tells of what was dropped. */
MUST_CHECK int triage_put_lines(struct triage *t, struct triage_lines *l, const char *entry,
				struct error *e);
void triage_lines_release(struct triage_lines *l);

/* A directory of the view for triage_open and the like, through links as a process of the view would go; path:
 * without a leading slash, "" is the root. Negative errno. */
int triage_dir(const struct triage *t, const char *path);
/* Numbers of the view's processes as they are now, ascending. malloc'ed. */
MUST_CHECK int triage_pids(struct triage *t, uint32_t **ret, size_t *ret_n, struct error *e);
/* PROC/PID, -1 when it is gone. */
int triage_pid_dir(const struct triage *t, uint32_t pid);

#endif
