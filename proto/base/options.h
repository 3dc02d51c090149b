/* SPDX-License-Identifier: Apache-2.0 */
/* One table per program feeds flags, YAML, --help, --check, the man page and completion.
 * A row named "journal.max-bytes" is the flag --journal.max-bytes and the YAML key
 *   journal:
 *     max-bytes: 1GiB
 * Flags win over the file. Unknown keys and bad values are errors with line and column. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

enum option_type {
	OPT_STRING, /* char * in the struct, malloc'ed; min..max: length in bytes */
	OPT_BYTES, /* uint64_t; 512, 64KiB, 1GiB */
	OPT_DURATION_MS, /* uint64_t; 500ms, 10s, 5m, 2h, 7d */
	OPT_U64, /* uint64_t */
	OPT_BOOL, /* bool; true, false; a bare flag is true */
	OPT_STRINGS, /* struct option_list: YAML sequence, or the flag repeated */
};

#define OPTION_LIST_MAX 64
struct option_list {
	size_t n;
	char *item[OPTION_LIST_MAX];
};

struct option {
	const char *name;
	enum option_type type;
	size_t offset;
	uint64_t min, max;
	const char *def; /* in YAML's spelling; NULL: empty */
	const char *help; /* one line */
	const char *metavar; /* DIR, FILE, ADDRESS...; NULL: by type */
};

struct option_table {
	const char *program; /* "exhibit-agent" */
	const char *summary; /* one line */
	const char *const *examples; /* "exhibit-agent --probe", "show what ...", pairs, NULL-terminated */
	const struct option *rows;
	size_t n_rows;
};

/* Fill opts with the defaults. */
MUST_CHECK int options_init(const struct option_table *t, void *opts, struct error *e);
/* Parse a YAML file over opts: "agent.yaml:3:5: unknown key 'jurnal'". */
MUST_CHECK int options_load(const struct option_table *t, const char *path, void *opts, struct error *e);
/* The same from memory; name is used in messages. Fuzzed. */
MUST_CHECK int options_parse(const struct option_table *t, const char *name, const void *text, size_t len,
			     void *opts, struct error *e);
/* Flags: --config FILE is loaded first (default_config if it exists and no --config is given; may be
 * NULL), then the flags apply. --help, --version, --check and --print-man set *ret_done after doing
 * their work (print to stdout; --check prints "FILE: ok"). */
MUST_CHECK int options_main(const struct option_table *t, int argc, char **argv, const char *default_config,
			    void *opts, bool *ret_done, struct error *e);
void options_release(const struct option_table *t, void *opts);
void options_help(const struct option_table *t); /* to stdout */
void options_man(const struct option_table *t); /* roff mdoc to stdout */

#endif
