/* SPDX-License-Identifier: Apache-2.0 */
/* The files epoch and acks: small, replaced as a whole, with a sum over all of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/journal_state.h"
#include "proto/base/files.h"

static int save(struct journal *j, const char *name, const uint8_t note[static JOURNAL_NOTE_LEN],
		struct error *e)
{
	AUTO(free_ptr) char *path = NULL;

	if (asprintf(&path, "%s/%s", j->dir, name) < 0) {
		path = NULL;
		return error_set(e, -ENOMEM, "cannot write '%s/%s': %m", j->dir, name);
	}
	return files_replace(path, note, JOURNAL_NOTE_LEN, 0600, e);
}

/* ret_len 0 without an error: there is none, or it is longer than ours can be. */
static int load(struct journal *j, const char *name, uint8_t note[static JOURNAL_NOTE_LEN],
		size_t *ret_len, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;
	int r = files_read_at(j->dir_fd, name, JOURNAL_NOTE_LEN, &data, &len, e);

	if (r == -EIO) /* some disks can do it the second time */
		r = files_read_at(j->dir_fd, name, JOURNAL_NOTE_LEN, &data, &len, e);
	*ret_len = 0;
	/* What the disk cannot give back is lost; anything else may work at the next start. */
	if (r == -ENOENT || r == -EFBIG || r == -EIO)
		return 0;
	if (r < 0)
		return error_wrap(e, r, "cannot open the journal '%s'", j->dir);
	memcpy(note, data, len);
	*ret_len = len;
	return 0;
}

int journal_epoch_begin(struct journal *j, struct error *e)
{
	uint8_t epoch[BATCH_EPOCH_LEN], note[JOURNAL_NOTE_LEN];
	int r = j->c.random(j->c.random_ctx, epoch, sizeof(epoch));

	if (r < 0)
		return error_set(e, r, "cannot draw a new epoch for the journal '%s': %m", j->dir);
	journal_epoch_write(epoch, note);
	r = save(j, "epoch", note, e);
	if (r < 0)
		return error_wrap(e, r, "cannot begin a new epoch");
	memcpy(j->epoch, epoch, sizeof(epoch));
	j->chain_broken = false;
	for (size_t i = 0; i < BATCH_LANES; i++) {
		struct journal_lane *l = &j->lanes[i];

		l->tail = (struct journal_tail){ 0 };
		/* A file holds frames of one epoch. */
		close_fd(&l->fd);
		l->fd = -1;
	}
	return 0;
}

int journal_epoch_load(struct journal *j, bool *ret_known, struct error *e)
{
	uint8_t note[JOURNAL_NOTE_LEN];
	size_t len;
	int r = load(j, "epoch", note, &len, e);

	if (r < 0)
		return r;
	*ret_known = journal_epoch_read(note, len, j->epoch) == 0;
	return 0;
}

int journal_acks_save(struct journal *j, struct error *e)
{
	uint64_t acked[BATCH_LANES];
	uint8_t note[JOURNAL_NOTE_LEN];
	int r;

	for (size_t i = 0; i < BATCH_LANES; i++)
		acked[i] = j->lanes[i].acked;
	journal_acks_write(acked, note);
	r = save(j, "acks", note, e);
	if (r < 0)
		return error_wrap(e, r, "cannot note what the collector acknowledged");
	for (size_t i = 0; i < BATCH_LANES; i++)
		j->lanes[i].acked_saved = acked[i];
	return 0;
}

int journal_acks_load(struct journal *j, struct error *e)
{
	uint64_t acked[BATCH_LANES];
	uint8_t note[JOURNAL_NOTE_LEN];
	size_t len;
	int r = load(j, "acks", note, &len, e);

	if (r < 0 || journal_acks_read(note, len, acked) < 0)
		return r;
	for (size_t i = 0; i < BATCH_LANES; i++)
		j->lanes[i].acked = j->lanes[i].acked_saved =
			acked[i] < JOURNAL_POSITION_MAX ? acked[i] : 0;
	return 0;
}
