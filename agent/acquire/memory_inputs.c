/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/memory_inputs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define INPUT_MIB_MAX 64U /* of one file */
#define READ_BYTES MiB(1)

/* r: how the item's writing ended. */
static int end_item(struct output *o, uint32_t item, int r, struct error *e)
{
	char why[ERROR_TEXT_MAX] = "";

	if (r < 0 && r != -ECANCELED)
		return r;
	if (r < 0 && e != NULL)
		(void)snprintf(why, sizeof(why), "%s", e->text);
	int ended = output_end(o, item, r < 0 ? why : NULL, NULL, e);

	return ended < 0 ? ended : r;
}

/* All of fd, whatever size it says it has. */
static int copy(struct output *o, int fd, const char *path, uint32_t item, struct error *e)
{
	AUTO(free_ptr) uint8_t *buf = malloc(READ_BYTES);
	uint64_t total = 0;
	int r = 0;

	if (buf == NULL)
		return error_set(e, -ENOMEM, "cannot read %s: out of memory", path);
	while (r == 0) {
		ssize_t n = read(fd, buf, READ_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return output_warn(o, true, e, "cannot read %s: %s", path, strerror(errno));
		if (n == 0)
			return 0;
		total += (uint64_t)n;
		if (total > MiB(INPUT_MIB_MAX))
			return output_warn(o, true, e, "%s is cut: it has more than %u MiB", path,
					   INPUT_MIB_MAX);
		r = output_write(o, item, buf, (size_t)n, e);
	}
	return r;
}

static int take_file(struct output *o, const char *root, const char *name, const char *item,
		     const char *format, struct error *e)
{
	char path[PATH_MAX];
	uint32_t number = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return output_warn(o, false, e, "cannot open %s: %s", path, strerror(errno));
	int r = output_begin(o, item, format, 0, &number, e);

	return r < 0 ? r : end_item(o, number, copy(o, fd, path, number, e), e);
}

static int take_note(struct output *o, const char *note, size_t len, struct error *e)
{
	uint32_t number = 0;

	if (note == NULL)
		return output_warn(o, false, e, "this source does not tell VMCOREINFO");
	int r = output_begin(o, "vmcoreinfo.txt", "text", len, &number, e);

	return r < 0 ? r : end_item(o, number, output_write(o, number, note, len, e), e);
}

int memory_inputs_take(const struct acquire_request *r, struct output *o, const char *note,
		       size_t note_len, struct error *e)
{
	static const struct {
		const char *name, *item, *format;
		bool sys;
	} inputs[] = {
		{ "version", "version.txt", "text", false },
		{ "kernel/btf/vmlinux", "vmlinux.btf", "btf", true },
		{ "kallsyms", "kallsyms.txt", "text", false },
		{ "iomem", "iomem.txt", "text", false },
		{ "modules", "modules.txt", "text", false },
		{ "kernel/notes", "kernel-notes.bin", "raw", true },
		{ "cmdline", "cmdline.txt", "text", false },
	};
	int result = take_note(o, note, note_len, e);

	for (size_t i = 0; result == 0 && i < ARRAY_LEN(inputs); i++)
		result = take_file(o, inputs[i].sys ? r->sys : r->proc, inputs[i].name,
				   inputs[i].item, inputs[i].format, e);
	return result;
}
