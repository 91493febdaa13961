/* SPDX-License-Identifier: Apache-2.0 */
/* sha1.h - SHA-1 (RFC 3174), which the greeting of WebSocket asks for. Not for anything that must be hard to forge. */
#ifndef LODGE_UTIL_SHA1_H
#define LODGE_UTIL_SHA1_H

#include "util/base.h"

#define SHA1_BYTES 20u

void sha1(const void *data, size_t len, uint8_t digest[SHA1_BYTES]);

#endif
