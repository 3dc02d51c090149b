/* SPDX-License-Identifier: Apache-2.0 */
/* One table per program feeds flags, YAML, --help, --check, the man page and completion.
 * A row named "journal.max-bytes" is the flag --journal.max-bytes and the YAML key
 *   journal:
 *     max-bytes: 1GiB
 * Flags win over the file. Unknown keys and bad values are errors with line and column.
 * Main thread only (getopt_long). */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

enum option_type {
	OPT_STRING, /* char * in the struct, malloc'ed, never NULL; min..max: length in bytes */
	OPT_BYTES, /* uint64_t; 512, 64KiB, 1GiB */
	OPT_DURATION_MS, /* uint64_t; 500ms, 10s, 5m, 2h, 7d */
	OPT_U64, /* uint64_t */
	OPT_BOOL, /* bool; true, false; a bare flag is true */
	/* char * as OPT_STRING: HOST:PORT, the host a name, an IPv4 address or an IPv6 address in brackets;
	 * min..max: of the port */
	OPT_ADDRESS,
	OPT_STRINGS, /* struct option_list: YAML sequence, or the flag repeated; min..max: items */
};

#define OPTION_ROWS_MAX 128
#define OPTION_STRING_MAX 4096 /* bytes of one string */
#define OPTION_FILE_MAX KiB(256)

#define OPTION_LIST_MAX 64
struct option_list {
	size_t n;
	char *item[OPTION_LIST_MAX];
};

struct option {
	const char *name;
	enum option_type type;
	size_t offset;
	uint64_t min, max; /* max 0: no maximum but the type's own */
	const char *def; /* in YAML's spelling; NULL: empty, 0 or false, whatever min says */
	const char *help; /* one line */
	const char *metavar; /* DIR, FILE, ADDRESS...; NULL: by type */
};

struct option_table {
	const char *program; /* "exhibit-agent" */
	const char *summary; /* one line */
	/* Pairs, NULL-terminated: "exhibit-agent --probe", "show what ..." */
	const char *const *examples;
	const struct option *rows;
	size_t n_rows;
	unsigned int man_section; /* 0: 8 */
	/* What a row cannot say of its values, such as which words there are. May be NULL. */
	int (*check)(const void *opts, struct error *e);
};

/* Fill opts with the defaults, whatever was there (nothing is freed). */
MUST_CHECK int options_init(const struct option_table *t, void *opts, struct error *e);
/* Parse a YAML file over opts: "agent.yaml:3:5: unknown key 'jurnal'". */
MUST_CHECK int options_load(const struct option_table *t, const char *path, void *opts,
			    struct error *e);
/* The same from memory; name is used in messages. Fuzzed. */
MUST_CHECK int options_parse(const struct option_table *t, const char *name, const void *text,
			     size_t len, void *opts, struct error *e);
/* opts: all zeros or filled by options_init; starts over from the defaults. --config FILE is loaded
 * first (default_config if it exists and no --config is given; may be NULL), then the flags apply.
 * opts must be released even when this fails. --help, --version, --check and --print-man set
 * *ret_done after doing their work (print to stdout; --check prints "FILE: ok", or "defaults: ok"
 * without a file). */
MUST_CHECK int options_main(const struct option_table *t, int argc, char **argv,
			    const char *default_config, void *opts, bool *ret_done,
			    struct error *e);
void options_release(const struct option_table *t, void *opts);
void options_help(const struct option_table *t); /* to stdout */
void options_man(const struct option_table *t); /* roff mdoc to stdout */

#endif
