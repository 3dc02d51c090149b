/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the index file share: its head and its streams, as bytes. */
#ifndef COLLECTOR_SEGMENT_INDEX_FORMAT_H
#define COLLECTOR_SEGMENT_INDEX_FORMAT_H

#include "collector/segment_index.h"

#define INDEX_MAGIC 0x5845444e49485845u /* "EXHINDEX" */
#define INDEX_VERSION 2 /* goes with TOKENS_VERSION */
#define INDEX_HEAD 512
#define INDEX_STREAM_PACKED 80

/* Offsets in the file, in the order of the sections. Rows begin at INDEX_HEAD. */
struct index_layout {
	struct index_summary summary;
	struct batch_name tenant;
	uint64_t by_stream, names, streams;
	struct token_index tokens;
};

void index_layout_pack(const struct index_layout *l, uint8_t head[static INDEX_HEAD]);
/* size: of the file. -EBADMSG. */
MUST_CHECK int index_layout_parse(const uint8_t head[static INDEX_HEAD], uint64_t size,
				  struct index_layout *ret_l);
/* Sum over a packed stream (less its last four bytes), its number and its host's name. */
uint32_t index_stream_crc(const uint8_t packed[static INDEX_STREAM_PACKED], uint32_t number,
			  const struct batch_name *host_id);

#endif
