/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of the kernel as small as its largest records allow, so that most of them wrap around. Needs
 * root; skipped without. */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/sensors.h"

#define ARGS_LEN 30000
#define ROUNDS 12
#define RING_BYTES KiB(128)

static int run_with_long_argument(void *arg)
{
	char *argv[] = { (char *)"true", arg, NULL };

	return execv("/bin/true", argv);
}

static void records_that_wrap_arrive_in_one_piece(void **state)
{
	struct hooks_config config = { .critical_ring_bytes = RING_BYTES,
				       .no_files = true,
				       .no_network = true };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	static char want[sizeof("true") + ARGS_LEN + 1] = "true";
	char *text = want + sizeof("true");
	int status;

	(void)state;
	for (size_t round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < ARGS_LEN; i++)
			text[i] = (char)('!' + (i * 7 + i / 90 + round) % 90);
		pid_t pid = sensors_child(run_with_long_argument, text, &status);

		sensors_expect_part(sensors_wait(s, REC_EXEC, pid, 0), SENSORS_ARGS, want,
				    sizeof(want));
	}
}

/* Resident pages of what is mapped from maps of the kernel. */
static size_t resident_of_maps(void)
{
	char line[512];
	size_t sum = 0;
	bool ours = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "anon_inode:bpf-map") || strstr(line, " rw-s ") ||
		    strstr(line, " r--s "))
			ours = strstr(line, "bpf-map") != NULL;
		else if (strncmp(line, "Rss:", 4) == 0 && ours)
			sum += KiB(strtoul(line + 4, NULL, 10));
		else if (strncmp(line, "VmFlags", 7) == 0)
			ours = false;
	}
	(void)fclose(f);
	return sum;
}

static void data_are_mapped_once(void **state)
{
	struct hooks_config config = { .critical_ring_bytes = MiB(1),
				       .bulk_ring_bytes = MiB(2),
				       .no_files = true,
				       .no_network = true };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);

	(void)state;
	assert_non_null(s);
	assert_in_range(resident_of_maps(), 1, MiB(3) + 2 * 2 * (size_t)getpagesize());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_that_wrap_arrive_in_one_piece),
		cmocka_unit_test(data_are_mapped_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
