/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define VERSION "0.1.0"
#define VERSION_DATE "November 24, 2026" /* as mdoc's .Dd wants it */

#endif
