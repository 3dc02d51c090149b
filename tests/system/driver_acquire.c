/* SPDX-License-Identifier: Apache-2.0 */
/* One acquirer by itself, into a folder of plain files: what it makes is judged by the field's own tools.
 *
 * driver_acquire KIND DIR [WORD=VALUE ...]: max-bytes, pid, start-ns, boot-id, container, path (again and again), deleted, device,
 *	filter, snap, seconds, before, interface, net-ns, engine (socket), spool-bytes, freeze-ms, host-seconds, no-freeze, on-exec,
 *	on-prefix, on-file (DEVICE:INODE), max-stops, max-seconds, end (continue, stay, kill), own-cgroup
 * SIGTERM: finish with what there is. An error is one sentence on standard error and exit status 1. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/acquire/acquire.h"

#define PATHS_MAX 64

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	stop = number;
}

struct driver {
	Exhibit__V1__Order order;
	Exhibit__V1__MemoryOrder memory;
	Exhibit__V1__CoreOrder core;
	Exhibit__V1__PacketsOrder packets;
	Exhibit__V1__FilesOrder files;
	Exhibit__V1__ChangesOrder changes;
	Exhibit__V1__TriageOrder triage;
	Exhibit__V1__DiskOrder disk;
	Exhibit__V1__ArrestOrder arrest;
	Exhibit__V1__FileId file;
	Exhibit__V1__OrderLimits limits;
	Exhibit__V1__ProcessTarget process;
	ProtobufCBinaryData paths[PATHS_MAX];
	struct acquire_request request;
	const char *own[2];
	uint64_t max_bytes;
};

static ProtobufCBinaryData bytes(char *text)
{
	return (ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)text };
}

static bool take_arrest(struct driver *d, const char *word, char *value)
{
	if (strcmp(word, "on-exec") == 0) {
		d->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH;
		d->arrest.path = bytes(value);
	} else if (strcmp(word, "on-prefix") == 0) {
		d->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX;
		d->arrest.prefix = bytes(value);
	} else if (strcmp(word, "on-file") == 0) {
		char *inode = strchr(value, ':');

		d->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE;
		d->arrest.file = &d->file;
		d->file.device = strtoull(value, NULL, 10);
		d->file.inode = inode != NULL ? strtoull(inode + 1, NULL, 10) : 0;
	} else if (strcmp(word, "max-seconds") == 0) {
		d->order.limits = &d->limits;
		d->limits.max_seconds = strtoull(value, NULL, 10);
	} else if (strcmp(word, "max-stops") == 0) {
		d->arrest.max_stops = (uint32_t)strtoul(value, NULL, 10);
	} else if (strcmp(word, "end") == 0) {
		d->arrest.end =
			strcmp(value, "kill") == 0 ? EXHIBIT__V1__ARREST_END__ARREST_KILL :
			strcmp(value, "stay") == 0 ? EXHIBIT__V1__ARREST_END__ARREST_STAY :
						     EXHIBIT__V1__ARREST_END__ARREST_CONTINUE;
	} else {
		return false;
	}
	return true;
}

static bool take_packets(struct driver *d, const char *word, char *value)
{
	if (strcmp(word, "filter") == 0)
		d->packets.filter = bytes(value);
	else if (strcmp(word, "snap") == 0)
		d->packets.snap_bytes = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(word, "seconds") == 0)
		d->packets.seconds = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(word, "before") == 0)
		d->packets.before_seconds = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(word, "interface") == 0)
		d->packets.interface = bytes(value);
	else if (strcmp(word, "net-ns") == 0)
		d->packets.net_ns = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(word, "engine") == 0)
		d->request.packet_socket = strcmp(value, "socket") == 0;
	else
		return false;
	return true;
}

static bool take_word(struct driver *d, const char *word, char *value)
{
	if (strcmp(word, "max-bytes") == 0) {
		d->max_bytes = strtoull(value, NULL, 10);
	} else if (strcmp(word, "pid") == 0) {
		d->process.pid = (uint32_t)strtoul(value, NULL, 10);
		d->order.process = &d->process;
	} else if (strcmp(word, "start-ns") == 0) {
		d->process.start_ns = strtoull(value, NULL, 10);
	} else if (strcmp(word, "boot-id") == 0) {
		d->process.boot_id = bytes(value);
	} else if (strcmp(word, "container") == 0) {
		d->order.container_id = bytes(value);
	} else if (strcmp(word, "path") == 0 && d->files.n_paths < PATHS_MAX) {
		d->paths[d->files.n_paths++] = bytes(value);
	} else if (strcmp(word, "deleted") == 0) {
		d->files.deleted = strcmp(value, "1") == 0;
	} else if (strcmp(word, "device") == 0) {
		d->disk.device = bytes(value);
	} else if (strcmp(word, "spool-bytes") == 0) {
		d->request.spool_bytes = strtoull(value, NULL, 10);
	} else if (strcmp(word, "freeze-ms") == 0) {
		d->request.freeze_max_ms = strtoull(value, NULL, 10);
	} else if (strcmp(word, "host-seconds") == 0) {
		d->request.max_seconds = strtoull(value, NULL, 10);
	} else if (strcmp(word, "no-freeze") == 0) {
		d->core.no_freeze = strcmp(value, "1") == 0;
	} else if (strcmp(word, "own-cgroup") == 0) {
		d->own[0] = value;
	} else {
		return take_packets(d, word, value) || take_arrest(d, word, value);
	}
	return true;
}

static void init(struct driver *d)
{
	exhibit__v1__order__init(&d->order);
	exhibit__v1__memory_order__init(&d->memory);
	exhibit__v1__core_order__init(&d->core);
	exhibit__v1__packets_order__init(&d->packets);
	exhibit__v1__files_order__init(&d->files);
	exhibit__v1__changes_order__init(&d->changes);
	exhibit__v1__triage_order__init(&d->triage);
	exhibit__v1__disk_order__init(&d->disk);
	exhibit__v1__arrest_order__init(&d->arrest);
	exhibit__v1__file_id__init(&d->file);
	exhibit__v1__order_limits__init(&d->limits);
	exhibit__v1__process_target__init(&d->process);
	d->files.paths = d->paths;
	d->request = (struct acquire_request){ .order = &d->order,
					       .proc = "/proc",
					       .sys = "/sys",
					       .cgroup = "/sys/fs/cgroup",
					       .own_cgroups = d->own,
					       .spool_bytes = MiB(256),
					       .freeze_max_ms = 5000,
					       .stop = &stop };
}

/* The member that the oneof of this kind holds. Kind and detail have one order in proto/order.proto. */
static void set_detail(struct driver *d, Exhibit__V1__OrderKind kind)
{
	d->order.kind = kind;
	d->order.detail_case =
		(Exhibit__V1__Order__DetailCase)(EXHIBIT__V1__ORDER__DETAIL_MEMORY +
						 (kind - EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY));
	switch (kind) {
	case EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY:
		d->order.memory = &d->memory;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_CORE:
		d->order.core = &d->core;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_PACKETS:
		d->order.packets = &d->packets;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_FILES:
		d->order.files = &d->files;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_CHANGES:
		d->order.changes = &d->changes;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_TRIAGE:
		d->order.triage = &d->triage;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_DISK:
		d->order.disk = &d->disk;
		break;
	default:
		d->order.arrest = &d->arrest;
	}
}

static const struct acquire_kind *find_kind(const char *name)
{
	for (size_t i = 0; acquire_at(i) != NULL; i++)
		if (strcmp(acquire_at(i)->name, name) == 0)
			return acquire_at(i);
	return NULL;
}

static int run(struct driver *d, const struct acquire_kind *kind, const char *dir, struct error *e)
{
	struct output *o = NULL;
	int r = output_folder(dir, d->max_bytes, &o, e);

	if (r == 0)
		r = kind->run(&d->request, o, e);
	output_free(o);
	return r;
}

int main(int argc, char **argv)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	const struct acquire_kind *kind = argc > 2 ? find_kind(argv[1]) : NULL;
	static struct driver d;
	struct error e = { 0 };

	init(&d);
	for (int i = 3; kind != NULL && i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (value != NULL)
			*value++ = '\0';
		if (value == NULL || !take_word(&d, argv[i], value))
			kind = NULL;
	}
	if (kind == NULL) {
		(void)fprintf(stderr, "driver_acquire: KIND DIR [WORD=VALUE ...]\n");
		return 2;
	}
	set_detail(&d, kind->kind);
	(void)signal(SIGTERM, on_signal);
	if (run(&d, kind, argv[2], &e) == 0)
		return 0;
	(void)fprintf(stderr, "driver_acquire: %s\n", error_format(&e, sentence, sizeof(sentence)));
	return 1;
}
