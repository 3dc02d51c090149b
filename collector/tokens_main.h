/* SPDX-License-Identifier: Apache-2.0 */
/* `exhibit-collector tokens make|list|revoke`: enrolment tokens, in the store's folder, whether the collector runs
 * or not. */
#ifndef COLLECTOR_TOKENS_MAIN_H
#define COLLECTOR_TOKENS_MAIN_H

int tokens_main(int argc, char **argv); /* exit status */

#endif
