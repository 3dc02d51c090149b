/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/isf.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <zlib.h>

#include "collector/isf_known.h"
#include "collector/isf_symbols.h"
#include "proto/base/version.h"
#include "proto/json.h"

#define DEPTH_MAX 8 /* pointers and arrays in one type; json.h nests no deeper than 16 */
#define TK_CORE "unnamed_tk_core"
#define TK_CORE_OFFSET 8 /* a seqcount before the timekeeper */

struct isf {
	const struct isf_inputs *in;
	struct isf_btf *btf;
	struct isf_names *names;
	struct isf_symbols *symbols;
	struct json j;
};

static void open_key(struct isf *s, const char *key)
{
	json_open(&s->j, key, strlen(key), '{');
}

/* {"kind": KIND, "name": NAME} */
static void write_named(struct isf *s, const char *key, const char *kind, const char *name)
{
	open_key(s, key);
	json_text(&s->j, "kind", kind);
	json_text(&s->j, "name", name);
	json_close(&s->j, '}');
}

static void write_user(struct isf *s, const char *key, bool is_union, const char *name)
{
	write_named(s, key, is_union ? "union" : "struct", name);
}

/* A structure that is only declared: where it is defined after all it counts. */
static void write_declared(struct isf *s, const char *key, const struct isf_btf_type *t)
{
	if (isf_find(s->names, ISF_SPACE_USER, t->name) != 0)
		write_user(s, key, t->flag, t->name);
	else
		write_named(s, key, "base", "void");
}

static void write_type(struct isf *s, const char *key, uint32_t id, unsigned int depth);

static void write_array(struct isf *s, const char *key, const struct isf_btf_type *t,
			unsigned int depth)
{
	struct isf_btf_array a = isf_btf_array(t);

	open_key(s, key);
	json_text(&s->j, "kind", "array");
	json_u64(&s->j, "count", a.count);
	write_type(s, "subtype", a.of, depth + 1);
	json_close(&s->j, '}');
}

static void write_type(struct isf *s, const char *key, uint32_t id, unsigned int depth)
{
	char made[ISF_NAME_MAX];
	uint32_t to = depth < DEPTH_MAX ? isf_btf_strip(s->btf, id) : 0;
	struct isf_btf_type t = isf_btf_type(s->btf, to);

	switch (t.kind) {
	case ISF_BTF_INT:
	case ISF_BTF_FLOAT:
		write_named(s, key, "base", t.name);
		break;
	case ISF_BTF_PTR:
		open_key(s, key);
		json_text(&s->j, "kind", "pointer");
		write_type(s, "subtype", t.size, depth + 1);
		json_close(&s->j, '}');
		break;
	case ISF_BTF_ARRAY:
		write_array(s, key, &t, depth);
		break;
	case ISF_BTF_STRUCT:
	case ISF_BTF_UNION:
		write_user(s, key, t.kind == ISF_BTF_UNION, isf_name(s->names, to, made));
		break;
	case ISF_BTF_ENUM:
	case ISF_BTF_ENUM64:
		write_named(s, key, "enum", isf_name(s->names, to, made));
		break;
	case ISF_BTF_FWD:
		write_declared(s, key, &t);
		break;
	case ISF_BTF_FUNC:
	case ISF_BTF_FUNC_PROTO:
		open_key(s, key);
		json_text(&s->j, "kind", "function");
		json_close(&s->j, '}');
		break;
	default:
		write_named(s, key, "base", "void");
	}
}

/* ---- base types -------------------------------------------------------------------------------- */

static void write_base(struct isf *s, const char *name, uint64_t size, bool is_signed,
		       const char *kind)
{
	open_key(s, name);
	json_u64(&s->j, "size", size);
	json_bool(&s->j, "signed", is_signed);
	json_text(&s->j, "kind", kind);
	json_text(&s->j, "endian", "little");
	json_close(&s->j, '}');
}

static const char *int_kind(const struct isf_btf_type *t)
{
	if (isf_btf_encoding(t) & 4)
		return "bool";
	return strstr(t->name, "char") != NULL ? "char" : "int";
}

static void write_bases(struct isf *s)
{
	open_key(s, "base_types");
	/* Both are demanded, and no kernel has types of these names. */
	write_base(s, "pointer", 8, false, "int");
	write_base(s, "void", 0, false, "void");
	for (uint32_t id = 1; id <= isf_btf_count(s->btf); id++) {
		struct isf_btf_type t = isf_btf_type(s->btf, id);

		if (isf_space_of(t.kind) != ISF_SPACE_BASE || !isf_chosen(s->names, id) ||
		    strcmp(t.name, "void") == 0 || strcmp(t.name, "pointer") == 0)
			continue;
		if (t.kind == ISF_BTF_FLOAT)
			write_base(s, t.name, t.size, true, "float");
		else
			write_base(s, t.name, t.size, isf_btf_encoding(&t) & 1, int_kind(&t));
	}
	json_close(&s->j, '}');
}

/* ---- structures, unions, enumerations ------------------------------------------------------------ */

/* The storage unit is that of the declared type: ISF counts bits from its start. */
static void write_bits(struct isf *s, const struct isf_btf_member *m)
{
	uint64_t unit = isf_btf_size(s->btf, m->type) * 8;
	uint64_t offset = unit == 0 ? 0 : m->bit_offset / unit * unit;

	open_key(s, "type");
	json_text(&s->j, "kind", "bitfield");
	json_u64(&s->j, "bit_position", m->bit_offset - offset);
	json_u64(&s->j, "bit_length", m->bit_size);
	write_type(s, "type", m->type, 0);
	json_close(&s->j, '}');
	json_u64(&s->j, "offset", offset / 8);
}

static void write_member(struct isf *s, const struct isf_btf_type *t, uint32_t i)
{
	char made[32];
	struct isf_btf_member m = isf_btf_member(s->btf, t, i);
	bool anonymous = m.name[0] == '\0';

	(void)snprintf(made, sizeof(made), "unnamed_field_%u", i);
	open_key(s, anonymous ? made : m.name);
	if (m.bit_size > 0) {
		write_bits(s, &m);
	} else {
		write_type(s, "type", m.type, 0);
		json_u64(&s->j, "offset", m.bit_offset / 8);
	}
	if (anonymous)
		json_bool(&s->j, "anonymous", true);
	json_close(&s->j, '}');
}

/* Before 6.13 tk_core is a structure without a name, which BTF does not tell; its plugin needs one. */
static void write_tk_core(struct isf *s)
{
	uint32_t id = isf_find(s->names, ISF_SPACE_USER, "timekeeper");

	if (id == 0 || isf_find(s->names, ISF_SPACE_USER, "tk_data") != 0)
		return;
	open_key(s, TK_CORE);
	json_text(&s->j, "kind", "struct");
	json_u64(&s->j, "size", isf_btf_size(s->btf, id) + TK_CORE_OFFSET);
	open_key(s, "fields");
	open_key(s, "timekeeper");
	write_user(s, "type", false, "timekeeper");
	json_u64(&s->j, "offset", TK_CORE_OFFSET);
	json_close(&s->j, '}');
	json_close(&s->j, '}');
	json_close(&s->j, '}');
}

static void write_users(struct isf *s)
{
	char made[ISF_NAME_MAX];

	open_key(s, "user_types");
	for (uint32_t id = 1; id <= isf_btf_count(s->btf); id++) {
		struct isf_btf_type t = isf_btf_type(s->btf, id);

		if (isf_space_of(t.kind) != ISF_SPACE_USER || !isf_chosen(s->names, id))
			continue;
		open_key(s, isf_name(s->names, id, made));
		json_text(&s->j, "kind", t.kind == ISF_BTF_UNION ? "union" : "struct");
		json_u64(&s->j, "size", t.size);
		open_key(s, "fields");
		for (uint32_t i = 0; i < t.n; i++)
			write_member(s, &t, i);
		json_close(&s->j, '}');
		json_close(&s->j, '}');
	}
	write_tk_core(s);
	json_close(&s->j, '}');
}

static const char *enum_base(const struct isf_btf_type *t)
{
	switch (t->size) {
	case 1:
		return "unsigned char";
	case 2:
		return "short unsigned int";
	case 8:
		return "long unsigned int";
	default:
		return t->flag ? "int" : "unsigned int";
	}
}

static void write_enum(struct isf *s, const char *name, const struct isf_btf_type *t)
{
	open_key(s, name);
	json_u64(&s->j, "size", t->size);
	json_text(&s->j, "base", enum_base(t));
	open_key(s, "constants");
	for (uint32_t i = 0; i < t->n; i++) {
		uint64_t value = 0;
		const char *constant = isf_btf_value(s->btf, t, i, &value);

		if (t->flag)
			json_i64(&s->j, constant, (int64_t)value);
		else
			json_u64(&s->j, constant, value);
	}
	json_close(&s->j, '}');
	json_close(&s->j, '}');
}

static void write_enums(struct isf *s)
{
	char made[ISF_NAME_MAX];

	open_key(s, "enums");
	for (uint32_t id = 1; id <= isf_btf_count(s->btf); id++) {
		struct isf_btf_type t = isf_btf_type(s->btf, id);

		if (isf_space_of(t.kind) == ISF_SPACE_ENUM && isf_chosen(s->names, id))
			write_enum(s, isf_name(s->names, id, made), &t);
	}
	json_close(&s->j, '}');
}

/* ---- symbols ------------------------------------------------------------------------------------- */

/* How many elements of a known array; 0 for one without an end. */
static uint64_t known_count(const struct isf *s, const struct isf_known *k,
			    const struct isf_symbol *symbol)
{
	if (k->count != ISF_TO_NEXT)
		return (uint64_t)k->count;
	uint64_t element = k->element != 0 ?
				   k->element :
				   isf_btf_size(s->btf, isf_find(s->names, k->space, k->type));
	uint64_t room = isf_symbols_room(s->symbols, symbol);

	return element == 0 ? 0 : room / element;
}

static void write_known(struct isf *s, const struct isf_known *k, const struct isf_symbol *symbol,
			const char *type)
{
	unsigned int depth = 0;

	for (const char *key = "type";; key = "subtype", depth++) {
		bool array = depth == 0 && k->count != ISF_PLAIN;

		if (!array && depth >= k->pointers + (k->count != ISF_PLAIN)) {
			write_named(s, key, k->space == ISF_SPACE_USER ? "struct" : "base", type);
			break;
		}
		open_key(s, key);
		json_text(&s->j, "kind", array ? "array" : "pointer");
		if (array)
			json_u64(&s->j, "count", known_count(s, k, symbol));
	}
	while (depth-- > 0)
		json_close(&s->j, '}');
}

/* The type of a known symbol, as this kernel has it; NULL: it has none, and then Volatility, which handles a
 * symbol that is missing and not one without a type, must not see the symbol. */
static const char *known_type(const struct isf *s, const struct isf_known *k)
{
	uint32_t id = k->space == ISF_SPACE_USER ? isf_find(s->names, k->space, k->type) : 0;

	if (strcmp(k->symbol, "tk_core") == 0 && id == 0)
		return isf_find(s->names, ISF_SPACE_USER, "timekeeper") != 0 ? TK_CORE : NULL;
	if (k->space != ISF_SPACE_USER)
		return k->type;
	/* Since 6.18 taint_flag has no member "module": left out, Volatility uses a list of its own. */
	struct isf_btf_type t = isf_btf_type(s->btf, id);
	bool module = strcmp(k->symbol, "taint_flags") != 0;

	for (uint32_t i = 0; !module && i < t.n; i++)
		module = strcmp(isf_btf_member(s->btf, &t, i).name, "module") == 0;
	return id != 0 && module ? k->type : NULL;
}

static void write_address(struct isf *s, const struct isf_symbol *symbol)
{
	bool moved = symbol->address >= ISF_TEXT_BASE;

	json_u64(&s->j, "address", symbol->address - (moved ? isf_symbols_shift(s->symbols) : 0));
}

static void write_symbol(struct isf *s, const struct isf_symbol *symbol, uint32_t variable)
{
	const struct isf_known *k = isf_known_find(symbol->name);
	const char *type = k != NULL ? known_type(s, k) : NULL;

	if (k != NULL && type == NULL)
		return;
	open_key(s, symbol->name);
	write_address(s, symbol);
	if (k != NULL) {
		write_known(s, k, symbol, type);
	} else if (variable != 0) {
		write_type(s, "type", variable, 0);
	} else if (strchr("tTwW", symbol->type) != NULL) {
		open_key(s, "type");
		json_text(&s->j, "kind", "function");
		json_close(&s->j, '}');
	} else {
		write_named(s, "type", "base", "void");
	}
	json_close(&s->j, '}');
}

/* By these bytes Volatility finds that an image and a symbol file belong together. */
static void write_banner(struct isf *s, const struct isf_symbol *symbol, const char *base64,
			 size_t bytes)
{
	open_key(s, symbol->name);
	write_address(s, symbol);
	open_key(s, "type");
	json_text(&s->j, "kind", "array");
	json_u64(&s->j, "count", bytes);
	write_named(s, "subtype", "base", "char");
	json_close(&s->j, '}');
	json_text(&s->j, "constant_data", base64);
	json_close(&s->j, '}');
}

/* The variables that BTF knows (per-CPU ones), by name. */
struct variable {
	const char *name;
	uint32_t type;
};

static int compare_variables(const void *a, const void *b)
{
	const struct variable *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int list_variables(const struct isf *s, struct variable **ret, size_t *ret_n,
			  struct error *e)
{
	size_t n = 0, room = 0;

	for (uint32_t id = 1; id <= isf_btf_count(s->btf); id++)
		room += isf_btf_type(s->btf, id).kind == ISF_BTF_VAR;
	struct variable *all = calloc(room + 1, sizeof(*all));

	if (all == NULL)
		return error_set(e, -ENOMEM, "cannot make the symbol file: out of memory");
	for (uint32_t id = 1; id <= isf_btf_count(s->btf); id++) {
		struct isf_btf_type t = isf_btf_type(s->btf, id);

		if (t.kind == ISF_BTF_VAR)
			all[n++] = (struct variable){ t.name, t.size };
	}
	qsort(all, n, sizeof(*all), compare_variables);
	*ret = all;
	*ret_n = n;
	return 0;
}

static int write_symbols(struct isf *s, const char *banner, size_t banner_bytes, struct error *e)
{
	AUTO(free_ptr) struct variable *variables = NULL;
	size_t n = 0;
	int r = list_variables(s, &variables, &n, e);

	if (r < 0)
		return r;
	open_key(s, "symbols");
	for (size_t i = 0; isf_symbols_at(s->symbols, i) != NULL; i++) {
		const struct isf_symbol *symbol = isf_symbols_at(s->symbols, i);
		struct variable key = { symbol->name, 0 };
		const struct variable *v =
			bsearch(&key, variables, n, sizeof(key), compare_variables);

		if (strcmp(symbol->name, "linux_banner") == 0)
			write_banner(s, symbol, banner, banner_bytes);
		else
			write_symbol(s, symbol, v != NULL ? v->type : 0);
	}
	json_close(&s->j, '}');
	return 0;
}

/* ---- the file ------------------------------------------------------------------------------------ */

static void write_origin(struct isf *s, const char *key, const char *kind, const char *name)
{
	json_open(&s->j, key, strlen(key), '[');
	json_open(&s->j, NULL, 0, '{');
	json_text(&s->j, "kind", kind);
	json_text(&s->j, "name", name);
	json_close(&s->j, '}');
	json_close(&s->j, ']');
}

static void write_metadata(struct isf *s)
{
	open_key(s, "metadata");
	json_text(&s->j, "format", "6.2.0");
	open_key(s, "producer");
	json_text(&s->j, "name", s->in->as_dwarf2json ? "dwarf2json" : "exhibit");
	json_text(&s->j, "version", s->in->as_dwarf2json ? "0.9.0" : VERSION);
	if (s->in->as_dwarf2json)
		json_text(&s->j, "generator", "exhibit " VERSION);
	json_close(&s->j, '}');
	open_key(s, "linux");
	/* The schema has no word for BTF. */
	write_origin(s, "symbols", "system-map", "kallsyms");
	write_origin(s, "types", "symtab", "vmlinux.btf");
	json_close(&s->j, '}');
	json_close(&s->j, '}');
}

/* The banner in memory: the text of /proc/version with its newline and a NUL. ret: base64, malloc'ed. */
static int encode_banner(const struct isf_inputs *in, char **ret, size_t *ret_bytes,
			 struct error *e)
{
	static const char begin[] = "Linux version ";
	size_t len = in->banner_len;
	AUTO(free_ptr) uint8_t *text = NULL;

	if (len < strlen(begin) || len > ISF_BANNER_MAX ||
	    memcmp(in->banner, begin, strlen(begin)) != 0)
		return error_set(e, -EBADMSG,
				 "the kernel's version text does not begin with \"%s\"", begin);
	text = calloc(1, len + 2);
	char *out = calloc(1, 4 * ((len + 2) / 3 + 1) + 1);

	if (text == NULL || out == NULL) {
		free(out);
		return error_set(e, -ENOMEM, "cannot make the symbol file: out of memory");
	}
	memcpy(text, in->banner, len);
	if (text[len - 1] != '\n')
		text[len++] = '\n';
	(void)EVP_EncodeBlock((unsigned char *)out, text, (int)len + 1);
	*ret = out;
	*ret_bytes = len + 1;
	return 0;
}

static void close_isf(struct isf *s)
{
	isf_names_free(s->names);
	isf_btf_free(s->btf);
	isf_symbols_free(s->symbols);
}

static int open_isf(struct isf *s, struct error *e)
{
	int r = isf_btf_open(s->in->btf, s->in->btf_len, &s->btf, e);

	if (r == 0)
		r = isf_names_new(s->btf, &s->names, e);
	if (r == 0)
		r = isf_symbols_new(s->in->kallsyms, s->in->kallsyms_len, s->in->vmcoreinfo,
				    s->in->vmcoreinfo_len, &s->symbols, e);
	return r;
}

int isf_write(const struct isf_inputs *in, FILE *out, struct error *e)
{
	AUTO(close_isf) struct isf s = { .in = in, .j = json_init(out) };
	AUTO(free_ptr) char *banner = NULL;
	size_t banner_bytes = 0;
	int r = encode_banner(in, &banner, &banner_bytes, e);

	if (r == 0)
		r = open_isf(&s, e);
	if (r < 0)
		return r;
	json_open(&s.j, NULL, 0, '{');
	write_metadata(&s);
	write_bases(&s);
	write_users(&s);
	write_enums(&s);
	r = write_symbols(&s, banner, banner_bytes, e);
	json_close(&s.j, '}');
	json_line(&s.j);
	if (r == 0 && (s.j.bad || ferror(out)))
		r = error_set(e, -EIO, "cannot write the symbol file");
	return r;
}

static ssize_t write_gz(void *file, const char *data, size_t len)
{
	return gzwrite(file, data, (unsigned int)len);
}

static int close_gz(void *file)
{
	return gzclose(file) == Z_OK ? 0 : -1;
}

int isf_write_file(const struct isf_inputs *in, const char *path, struct error *e)
{
	cookie_io_functions_t io = { .write = write_gz, .close = close_gz };
	AUTO(close_fd)
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return error_set(e, -errno, "cannot make %s: %m", path);
	gzFile file = gzdopen(fd, "wb6");

	if (file == NULL)
		return error_set(e, -ENOMEM, "cannot write %s: out of memory", path);
	(void)take_fd(&fd);
	FILE *out = fopencookie(file, "w", io);

	if (out == NULL) {
		(void)gzclose(file);
		return error_set(e, -ENOMEM, "cannot write %s: out of memory", path);
	}
	int r = isf_write(in, out, e);

	if (fclose(out) != 0 && r == 0)
		r = error_set(e, -EIO, "cannot write %s: the disk is full or broken", path);
	if (r < 0)
		(void)unlink(path);
	return r;
}
