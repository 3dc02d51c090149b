/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/counters.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

static void add(struct rec_counters *sum, const struct rec_counters *c)
{
	sum->seen += c->seen;
	sum->filtered += c->filtered;
	sum->aggregated += c->aggregated;
	sum->sent += c->sent;
	sum->lost_ring += c->lost_ring;
	sum->lost_scratch += c->lost_scratch;
}

static int read_classes(int fd, size_t n_cpu, struct counters *ret)
{
	AUTO(free_ptr) struct rec_counters *cpu = calloc(n_cpu, sizeof(*cpu));

	if (!cpu)
		return -ENOMEM;
	for (uint32_t class = 0; class < REC_CLASSES; class ++) {
		if (bpf_map_lookup_elem(fd, &class, cpu) < 0)
			return -errno;
		for (size_t i = 0; i < n_cpu; i++)
			add(&ret->class[class], &cpu[i]);
	}
	return 0;
}

static int read_numbers(int fd, size_t n_cpu, struct counters *ret)
{
	AUTO(free_ptr) uint64_t *cpu = calloc(n_cpu, sizeof(*cpu));

	if (!cpu)
		return -ENOMEM;
	for (uint32_t ring = 0; ring < REC_RINGS; ring++) {
		if (bpf_map_lookup_elem(fd, &ring, cpu) < 0)
			return -errno;
		for (size_t i = 0; i < n_cpu; i++)
			ret->ring_sent[ring] += cpu[i];
	}
	return 0;
}

int counters_read(const struct hooks *h, struct counters *ret, struct error *e)
{
	struct counters c = { 0 };
	int n_cpu = libbpf_num_possible_cpus();
	int r = n_cpu;

	if (n_cpu > 0)
		r = read_classes(hooks_map_fd(h, "exh_counters"), (size_t)n_cpu, &c);
	if (r == 0)
		r = read_numbers(hooks_map_fd(h, "exh_seq"), (size_t)n_cpu, &c);
	if (r < 0)
		return error_set(e, r, "cannot read the sensors' counters: %m");
	for (size_t i = 0; i < REC_CLASSES; i++)
		c.missed[i] = hooks_missed(h, (enum rec_class)i);
	*ret = c;
	return 0;
}

size_t counters_cpus(void)
{
	int n = libbpf_num_possible_cpus();

	return n > 0 ? (size_t)n : 1;
}

int counters_numbers(const struct hooks *h, enum rec_ring ring, uint64_t *ret, size_t n,
		     struct error *e)
{
	uint32_t key = ring;

	if (n < counters_cpus())
		return error_set(e, -EINVAL, "cannot read the numbers of %zu CPUs into %zu",
				 counters_cpus(), n);
	if (bpf_map_lookup_elem(hooks_map_fd(h, "exh_seq"), &key, ret) < 0)
		return error_set(e, -errno, "cannot read how far the sensors have counted: %m");
	return 0;
}

void counters_add_swept(struct counters *c, uint64_t n)
{
	c->class[REC_CLASS_UDP].seen += n;
	c->class[REC_CLASS_UDP].sent += n;
}

bool counters_balanced(const struct rec_counters *c)
{
	return c->seen == c->filtered + c->aggregated + c->sent + c->lost_ring + c->lost_scratch;
}

uint64_t counters_lost(const struct counters *c, enum rec_class class)
{
	return c->class[class].lost_ring + c->class[class].lost_scratch + c->missed[class];
}
