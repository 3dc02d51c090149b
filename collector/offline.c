/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "collector/ledger_check.h"
#include "collector/server.h"
#include "collector/vault_keys.h"
#include "collector/vault_parts.h"
#include "proto/base/log.h"

enum { EXIT_INTACT = 0, EXIT_DAMAGED = 1, EXIT_ERROR = 2 };

int offline_fail(const struct error *e)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	(void)fprintf(stderr, "exhibit-collector: %s\n",
		      error_format(e, sentence, sizeof(sentence)));
	return EXIT_ERROR;
}

/* Options as the daemon reads them. 0: go on; 1: all done (--help); negative: e. */
static int read_options(int argc, char **argv, struct collector_config *c, struct error *e)
{
	bool done = false;
	int r = options_init(&collector_options, c, e);

	if (r == 0)
		r = options_main(&collector_options, argc, argv, COLLECTOR_CONFIG_FILE, c, &done,
				 e);
	log_init("exhibit-collector", LOG_LEVEL_WARN, false);
	return r < 0 ? r : done;
}

/* Opening a store makes one where none is, and a folder without batches is intact: a mistyped name
 * must not pass for that. Each store has its lock. */
static int find_store(const char *dir, struct error *e)
{
	AUTO(close_fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd >= 0 && faccessat(fd, "lock", F_OK, 0) == 0)
		return 0;
	r = error_set(e, -errno, "there is no store in '%s': %m", dir);
	error_hint(
		e,
		fd < 0 ?
			"name the store's folder with --store.dir" :
			"name the store's folder with --store.dir; where only segments were saved, "
			"add an empty file 'lock'");
	return r;
}

static void print_fault(void *ctx, const char *sentence)
{
	(void)ctx;
	(void)puts(sentence);
}

struct seen {
	struct ledger_check *ledger;
	struct vault_keys keys; /* of the host records in the store */
	int r; /* of gathering them */
};

static bool see_frame(void *ctx, enum store_kind kind, const struct batch_name *tenant,
		      const uint8_t *body, size_t len)
{
	struct seen *s = ctx;

	if (kind == STORE_HOST_RECORD && s->r == 0)
		s->r = vault_keys_add_record(&s->keys, body, len);
	return ledger_check_frame(s->ledger, kind, tenant, body, len);
}

/* The ledger first, then the store against it, then it against the store. */
static int check_both(const struct collector_config *c, struct seen *s, uint64_t *ret_faults,
		      struct error *e)
{
	struct ledger_check **k = &s->ledger;
	char dir[SERVER_PATH_MAX], cert[SERVER_PATH_MAX], vault[VAULT_DIR_MAX];
	struct ledger_config ledger;
	struct store_config store;
	int r = find_store(c->store_dir, e);

	if (r == 0)
		r = server_ledger_config(c, dir, cert, &ledger, e);
	if (r == 0)
		r = vault_parts_dir(c, vault, e);
	if (r == 0)
		r = ledger_check_begin(&ledger, print_fault, NULL, k, e);
	if (r == 0)
		r = ledger_check_vault(*k, vault, e);
	if (r < 0)
		return r;
	server_store_config(c, NULL, &store);
	store.has_leaf = see_frame;
	store.has_leaf_ctx = s;
	r = store_check(&store, print_fault, NULL, ret_faults, e);
	if (r == 0 && s->r < 0)
		r = error_set(e, s->r, "cannot keep the keys of the hosts: %m");
	/* What cannot be read is named already: that it is not there would be said twice. */
	if (r == 0 && *ret_faults == 0)
		r = ledger_check_end(*k, e);
	*ret_faults += ledger_check_faults(*k);
	return r;
}

/* One that was never used is no fault. */
static int check_vault(const struct collector_config *c, const struct vault_keys *keys,
		       uint64_t *faults, struct error *e)
{
	char dir[VAULT_DIR_MAX];
	uint64_t here = 0;
	int r = vault_parts_dir(c, dir, e);

	if (r == 0)
		r = vault_check(dir, keys, print_fault, NULL, &here, e);
	*faults += here;
	return r == -ENOENT && c->vault_dir[0] == '\0' ? 0 : r;
}

int offline_check(const struct collector_config *c, uint64_t *faults, struct error *e)
{
	struct seen s = { 0 };
	int r = check_both(c, &s, faults, e);

	ledger_check_free(s.ledger);
	if (r == 0)
		r = check_vault(c, &s.keys, faults, e);
	vault_keys_release(&s.keys);
	return r;
}

static int check(const struct collector_config *c)
{
	struct error e = { 0 };
	uint64_t faults = 0;

	if (offline_check(c, &faults, &e) < 0)
		return offline_fail(&e);
	(void)fprintf(stderr, faults == 0 ? "intact: '%s'\n" : "damaged: '%s'\n", c->store_dir);
	return faults == 0 ? EXIT_INTACT : EXIT_DAMAGED;
}

static int reindex(const struct collector_config *c)
{
	struct store_config store;
	struct error e = { 0 };

	server_store_config(c, NULL, &store);
	if (find_store(c->store_dir, &e) < 0 || store_reindex(&store, &e) < 0)
		return offline_fail(&e);
	(void)fprintf(stderr, "rebuilt catalog and indexes of '%s'\n", c->store_dir);
	return EXIT_INTACT;
}

int offline_run(int argc, char **argv, int (*work)(const struct collector_config *))
{
	struct collector_config c = { 0 };
	struct error e = { 0 };
	int r = read_options(argc, argv, &c, &e);
	int status = r < 0 ? offline_fail(&e) : r == 1 ? EXIT_INTACT : work(&c);

	options_release(&collector_options, &c);
	return status;
}

int check_main(int argc, char **argv)
{
	return offline_run(argc, argv, check);
}

int reindex_main(int argc, char **argv)
{
	return offline_run(argc, argv, reindex);
}
