/* SPDX-License-Identifier: Apache-2.0 */
/* What hosts know of this ledger that it does not know itself. After a rebuild hosts may hold checkpoints of leaves that
 * were lost with the machine: each is stated once, in the log, as a leaf and in `exhibit status`. A checkpoint that
 * contradicts the ledger otherwise is a contradiction, for as long as its host holds it.
 *
 * DIR/rebuilt: "exhibit rebuilt 1\nLEAF LEAVES\n", made by `exhibit-collector rebuild`; DIR/rebuilt.crt: the
 * certificate of the key that signed before; DIR/lost: "LEAVES TENANT HOST" a line. Any thread. */
#ifndef COLLECTOR_REBUILT_H
#define COLLECTOR_REBUILT_H

#include "collector/ledger.h"
#include "proto/batch.h"

#define REBUILT_FILE "rebuilt"
#define REBUILT_CERTIFICATE "rebuilt.crt"
#define REBUILT_HOSTS_MAX 4096

struct rebuilt;

/* dir: the ledger's. Tells the ledger of the leaf. */
MUST_CHECK int rebuilt_open(const char *dir, struct ledger *l, struct rebuilt **ret,
			    struct error *e);
void rebuilt_close(struct rebuilt *b); /* NULL allowed */
/* What DIR/rebuilt is to say. */
MUST_CHECK int rebuilt_write(const char *dir, uint64_t leaf, uint64_t leaves, struct error *e);
/* A host says which checkpoint it holds (a signed note). */
void rebuilt_held(void *rebuilt, const struct batch_name *tenant, const struct batch_name *host,
		  const void *note, size_t len);
/* Fills what status shows: hosts are borrowed by m until rebuilt_status_release. false: nothing to show. */
MUST_CHECK bool rebuilt_status(struct rebuilt *b, Exhibit__V1__StatusRebuilt *m);
void rebuilt_status_release(Exhibit__V1__StatusRebuilt *m);

#endif
