/* SPDX-License-Identifier: Apache-2.0 */
/* The few words that S3's answers hold in XML. Pure function of hostile bytes; fuzzed. Why no XML parser: three
 * elements without attributes are read, of at most 64 KiB. */
#ifndef COLLECTOR_S3_XML_H
#define COLLECTOR_S3_XML_H

#include "proto/base/base.h"

/* The text of the first <name> element, the five entities decoded. false: there is none, or it is longer than
 * size - 1, or holds other markup. */
MUST_CHECK bool s3_xml_text(const char *xml, size_t len, const char *name, char *out, size_t size);

#endif
