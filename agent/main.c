/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/config.h"
#include "agent/sense.h"
#include "agent/uplink.h"
#include "proto/base/log.h"
#include "proto/rpc_guard.h"

static int run(const struct agent_config *c, bool uplink, char **argv, struct error *e)
{
	if (uplink) {
		(void)prctl(PR_SET_NAME, "exhibit-uplink"); /* started through /proc/self/exe */
		return uplink_run(c, e);
	}
	return c->probe ? sense_probe(c, e) : sense_run(c, argv, e);
}

int main(int argc, char **argv)
{
	bool uplink = argc > 1 && strcmp(argv[1], "uplink") == 0; /* how launch.c starts us again */
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct agent_config c = { 0 };
	enum log_level level = LOG_LEVEL_INFO;
	struct error e = { 0 };
	bool done = false;
	int r = rpc_guard_scrub_environment(&e);

	if (r == 0)
		r = options_init(&agent_options, &c, &e);
	if (r == 0)
		r = options_main(&agent_options, argc - uplink, argv + uplink, AGENT_CONFIG_FILE,
				 &c, &done, &e);
	if (r == 0 && !done)
		r = log_level_parse(c.log_level, &level, &e);
	if (r == 0 && !done) {
		log_init(uplink ? "exhibit-uplink" : "exhibit-agent", level, c.log_json);
		r = run(&c, uplink, argv, &e);
	}
	options_release(&agent_options, &c);
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "exhibit-agent: %s\n", error_format(&e, sentence, sizeof(sentence)));
	return 2;
}
