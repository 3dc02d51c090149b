/* SPDX-License-Identifier: Apache-2.0 */
/* `exhibit-collector certs VERB`: make and renew authorities, certificates, sealing keys, host records. */
#ifndef COLLECTOR_CERTS_MAIN_H
#define COLLECTOR_CERTS_MAIN_H

/* argv[0]: "certs". Prints what it did, or one sentence of error. Returns the exit status. */
int certs_main(int argc, char **argv);

#endif
