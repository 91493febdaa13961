/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iso.h - writes a small ISO 9660 file system with a few files in its root: what a guest is to find at its first start.
 */
#ifndef LODGE_KEEPER_ISO_H
#define LODGE_KEEPER_ISO_H

#include "util/buf.h"
#include "util/err.h"

#define ISO_FILES_MAX 8u

struct iso_file {
	const char *name;     /* as the guest sees it, 1 to 64 bytes */
	const char *iso_name; /* for readers that know no Rock Ridge: "USER_DAT.;1" */
	const void *data;
	size_t len;
};

/* Appends the whole image to `out`, which is empty; a multiple of 2048 bytes. label: at most 32 of A-Z, 0-9 and "_". 0 or -errno. */
int iso_write(struct buf *out, const char *label, const struct iso_file *file, unsigned n,
	      struct err *e);

#endif
