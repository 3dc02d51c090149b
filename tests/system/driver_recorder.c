/* SPDX-License-Identifier: Apache-2.0 */
/* The flight recorder by itself, as sense keeps it: it runs while this does.
 *
 * driver_recorder BYTES SNAP: prints "recording", then for each line on standard input "shell COMMAND" runs it as a
 * child (which finds the recorder of its parent) and prints its exit status, for "span" prints the coverage's reason;
 * the end of the input ends it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/recorder.h"
#include "proto/base/clock.h"

#define LINE_MAX_BYTES 4096
#define SHELL "shell "

static int run(const char *command)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		(void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void answer(const struct recorder *r, const char *line)
{
	static struct coverage c;

	if (strncmp(line, SHELL, strlen(SHELL)) == 0) {
		(void)printf("%d\n", run(line + strlen(SHELL)));
		return;
	}
	recorder_coverage(r, clock_boottime_ns(), &c);
	(void)printf("%s\n", c.row[0].reason);
}

int main(int argc, char **argv)
{
	struct recorder_config c = { 0 };
	struct recorder *r = NULL;
	char line[LINE_MAX_BYTES];
	struct error e = { 0 };

	if (argc != 3)
		return 2;
	c.bytes = strtoull(argv[1], NULL, 10);
	c.snap = (uint32_t)strtoul(argv[2], NULL, 10);
	if (recorder_open(&c, &r, &e) < 0) {
		(void)fprintf(stderr, "driver_recorder: %s\n", e.text);
		return 1;
	}
	(void)printf("recording\n");
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		answer(r, line);
		(void)fflush(stdout);
	}
	recorder_close(r);
	return 0;
}
