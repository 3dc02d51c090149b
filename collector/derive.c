/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/derive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "collector/isf.h"
#include "collector/isf_btf.h"
#include "collector/isf_symbols.h"
#include "proto/base/files.h"

#define ADD_ON "collector/volatility/exhibit_la57.py"

/* The add-on as it lies in the tree. */
__asm__(".pushsection .rodata\n"
	"derive_add_on:\n"
	".incbin \"" ADD_ON "\"\n"
	"derive_add_on_end:\n"
	".byte 0\n"
	".popsection\n");
extern const char derive_add_on[], derive_add_on_end[];

static const char five_levels[] = "\nNUMBER(pgtable_l5_enabled)=1\n";

static const char readme[] =
	"Made from the items of this exhibit by exhibit; not evidence.\n"
	"\n"
	"  vol -s volatility/symbols%s -f memory.lime linux.pslist\n"
	"\n"
	"%sSymbols: the kernel's own type information (vmlinux.btf) and symbol list (kallsyms.txt). Where\n"
	"Python's jsonschema is installed, Volatility validates the file for minutes before its first use.\n";
static const char about_levels[] =
	"This kernel used five levels of page tables, which Volatility does not walk without the add-on.\n";

struct input {
	void *data; /* mapped */
	size_t len;
};

static void unmap(const struct input *i)
{
	if (i->data != NULL)
		(void)munmap(i->data, i->len);
}

/* Mapped, so that the file's pages and not ours hold it. */
static int map(const char *dir, const char *name, size_t max, struct input *ret, struct error *e)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open %s: %m", path);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > max)
		return error_set(e, -EBADMSG, "%s is empty, too large, or no file", path);
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

	if (at == MAP_FAILED)
		return error_set(e, -errno, "cannot read %s: %m", path);
	*ret = (struct input){ at, (size_t)st.st_size };
	return 0;
}

static int replace(const char *dir, const char *name, const void *data, size_t len, struct error *e)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/" DERIVE_VOLATILITY "/%s", dir, name);
	return files_replace(path, data, len, 0644, e);
}

static int make_folders(const char *dir, bool add_on, struct error *e)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/" DERIVE_VOLATILITY "/symbols", dir);
	int r = files_mkdirs(path, 0755, e);

	(void)snprintf(path, sizeof(path), "%s/" DERIVE_VOLATILITY "/plugins", dir);
	return r == 0 && add_on ? files_mkdirs(path, 0755, e) : r;
}

static int make_symbols(const char *dir, const struct isf_inputs *in, struct error *e)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/" DERIVE_VOLATILITY "/symbols/kernel.json.gz", dir);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot replace %s: %m", path);
	return isf_write_file(in, path, e);
}

static int make_readme(const char *dir, bool add_on, struct error *e)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), readme, add_on ? " -p volatility/plugins" : "",
			 add_on ? about_levels : "");

	return replace(dir, "README.txt", text, (size_t)n, e);
}

int derive_memory(const char *dir, struct error *e)
{
	AUTO(unmap) struct input btf = { 0 };
	AUTO(unmap) struct input kallsyms = { 0 };
	AUTO(unmap) struct input version = { 0 };
	AUTO(unmap) struct input note = { 0 };
	int r = map(dir, "vmlinux.btf", ISF_BTF_MAX, &btf, e);

	if (r == 0)
		r = map(dir, "kallsyms.txt", ISF_KALLSYMS_MAX, &kallsyms, e);
	if (r == 0)
		r = map(dir, "version.txt", ISF_BANNER_MAX, &version, e);
	/* A source that does not know it sends none: then the symbols alone place the kernel. */
	if (r == 0)
		(void)!map(dir, "vmcoreinfo.txt", ISF_VMCOREINFO_MAX, &note, NULL);
	bool add_on = note.data != NULL &&
		      memmem(note.data, note.len, five_levels, strlen(five_levels)) != NULL;
	struct isf_inputs in = { .btf = btf.data,
				 .btf_len = btf.len,
				 .kallsyms = kallsyms.data,
				 .kallsyms_len = kallsyms.len,
				 .vmcoreinfo = note.data,
				 .vmcoreinfo_len = note.len,
				 .banner = version.data,
				 .banner_len = version.len };

	if (r == 0)
		r = make_folders(dir, add_on, e);
	if (r == 0)
		r = make_symbols(dir, &in, e);
	if (r == 0 && add_on)
		r = replace(dir, "plugins/exhibit_la57.py", derive_add_on,
			    (size_t)(derive_add_on_end - derive_add_on), e);
	return r == 0 ? make_readme(dir, add_on, e) : r;
}
