/* SPDX-License-Identifier: Apache-2.0 */
/* A file that was written under another name gets its own. Evidence goes to sticks and shares as well: FAT, exFAT and
 * NFS know neither links nor a rename that replaces nothing, and FAT has no modes. */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

#include "proto/base/base.h"
#include "proto/base/error.h"

/* part becomes name, both below dirfd. -EEXIST: name is there already, and stays; part stays then too. Where the file
 * system cannot tell in one step, a file that is made in the same moment may be replaced. */
MUST_CHECK int place_file(int dirfd, const char *part, const char *name, struct error *e);
/* Nobody writes it by mistake any more, where the file system has modes. -errno. */
MUST_CHECK int place_read_only(int fd);

#endif
