/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds every file of the given folders (and given files) to the fuzz target, and no input at all.
 * A folder that is missing or empty is a failure: a target without a corpus tests nothing. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (16u << 20)

static int feed_file(const char *path)
{
	/* Exactly as long as the file, so that ASan sees one byte too far. */
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data;
	size_t size, got;

	if (!f || fstat(fileno(f), &st) < 0 || st.st_size > INPUT_MAX) {
		fprintf(stderr, "cannot read '%s': %s\n", path, strerror(errno));
		exit(1);
	}
	size = (size_t)st.st_size;
	data = malloc(size ? size : 1);
	got = data ? fread(data, 1, size, f) : 0;
	(void)fclose(f);
	if (!data || got != size) {
		fprintf(stderr, "cannot read '%s': short read\n", path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static int feed_folder(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);
	int fed = 0;
	char file[4096];

	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.') {
			(void)snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
			fed += feed_file(file);
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return fed;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	int total = 0;

	LLVMFuzzerTestOneInput(NULL, 0);
	for (int i = 1; i < argc; i++) {
		struct stat st;
		int fed = 0;

		if (stat(argv[i], &st) == 0)
			fed = S_ISDIR(st.st_mode) ? feed_folder(argv[i]) : feed_file(argv[i]);
		if (!fed) {
			fprintf(stderr, "%s: no corpus in '%s'\n", name, argv[i]);
			return 1;
		}
		total += fed;
	}
	printf("%-24s %d inputs\n", name, total);
	return 0;
}
