/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/acquire/main.h"
#include "agent/config.h"
#include "agent/enroll.h"
#include "agent/sense.h"
#include "agent/uplink.h"
#include "proto/base/log.h"
#include "proto/rpc_guard.h"

/* What a process of this program does. The launcher starts the others through /proc/self/exe (launch.h),
 * with a word before the flags. */
enum role { ROLE_SENSE, ROLE_UPLINK, ROLE_ACQUIRE };

static const struct {
	const char *word, *name;
} roles[] = {
	[ROLE_SENSE] = { NULL, "exhibit-agent" },
	[ROLE_UPLINK] = { "uplink", "exhibit-uplink" },
	[ROLE_ACQUIRE] = { "acquire", "exhibit-acquire" },
};

static enum role role_of(int argc, char **argv)
{
	for (enum role role = ROLE_UPLINK; argc > 1 && role <= ROLE_ACQUIRE; role++)
		if (strcmp(argv[1], roles[role].word) == 0)
			return role;
	return ROLE_SENSE;
}

static int run(const struct agent_config *c, enum role role, char **argv, struct error *e)
{
	switch (role) {
	case ROLE_UPLINK:
		(void)prctl(PR_SET_NAME, roles[role].name);
		return uplink_run(c, e);
	case ROLE_ACQUIRE:
		return acquire_process(e);
	case ROLE_SENSE:
		break;
	}
	if (c->probe)
		return sense_probe(c, e);
	int r = enroll_at_start(c, e);

	return r < 0 ? r : sense_run(c, argv, e);
}

int main(int argc, char **argv)
{
	enum role role = role_of(argc, argv);
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct agent_config c = { 0 };
	enum log_level level = LOG_LEVEL_INFO;
	struct error e = { 0 };
	int skip = role != ROLE_SENSE;
	bool done = false;

	if (argc > 1 && strcmp(argv[1], "enroll") == 0)
		return enroll_main(argc - 1, argv + 1);
	int r = rpc_guard_scrub_environment(&e);

	if (r == 0)
		r = options_init(&agent_options, &c, &e);
	if (r == 0)
		r = options_main(&agent_options, argc - skip, argv + skip, AGENT_CONFIG_FILE, &c,
				 &done, &e);
	if (r == 0 && !done)
		r = log_level_parse(c.log_level, &level, &e);
	if (r == 0 && !done) {
		log_init(roles[role].name, level, c.log_json);
		r = run(&c, role, argv, &e);
	}
	options_release(&agent_options, &c);
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "exhibit-agent: %s\n", error_format(&e, sentence, sizeof(sentence)));
	return 2;
}
