/* SPDX-License-Identifier: Apache-2.0 */
/* Names of objects below the bucket's prefix. No tenant's name begins with a dot. */
#ifndef COLLECTOR_ARCHIVE_KEYS_H
#define COLLECTOR_ARCHIVE_KEYS_H

#define ARCHIVE_LEDGER                                                                             \
	".ledger/" /* LOG/tile/..., LOG/certificate.crt, LOG/checkpoint/SIZE (20 digits) */
#define ARCHIVE_CERTIFICATE "certificate.crt"
#define ARCHIVE_CHECKPOINT "checkpoint/"
#define ARCHIVE_SEGMENTS ".segments/" /* TENANT/ID/OFFSET-SHA256 (16 and 64 hex digits) */
#define ARCHIVE_ORDERS ".orders/" /* SHA256 */

#endif
