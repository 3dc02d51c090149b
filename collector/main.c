/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "collector/certs_main.h"
#include "collector/offline.h"
#include "collector/rebuild.h"
#include "collector/server.h"
#include "collector/tokens_main.h"
#include "proto/base/log.h"
#include "proto/rpc_guard.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "certs", certs_main },     { "tokens", tokens_main },   { "check", check_main },
	{ "reindex", reindex_main }, { "rebuild", rebuild_main },
};

static int serve(int argc, char **argv, struct error *e)
{
	struct collector_config c = { 0 };
	enum log_level level = LOG_LEVEL_INFO;
	bool done = false;
	int r = options_init(&collector_options, &c, e);

	if (r == 0)
		r = options_main(&collector_options, argc, argv, COLLECTOR_CONFIG_FILE, &c, &done,
				 e);
	if (r == 0 && !done)
		r = log_level_parse(c.log_level, &level, e);
	if (r == 0 && !done) {
		log_init("exhibit-collector", level, c.log_json);
		r = server_run(&c, e);
	}
	options_release(&collector_options, &c);
	return r;
}

int main(int argc, char **argv)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct error e = { 0 };
	int r = rpc_guard_scrub_environment(&e);

	for (size_t i = 0; r == 0 && argc > 1 && i < ARRAY_LEN(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	if (r == 0)
		r = serve(argc, argv, &e);
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "exhibit-collector: %s\n",
		      error_format(&e, sentence, sizeof(sentence)));
	return 2;
}
