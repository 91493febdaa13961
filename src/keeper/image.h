/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - images: raw disks under names, in a folder of the user's.
 *
 * A name is WORD or WORD:TAG of a-z 0-9 . -; its file is WORD.raw or WORD_TAG.raw in $LODGE_IMAGES, else in
 * $XDG_DATA_HOME/lodge/images, else in ~/.local/share/lodge/images.
 */
#ifndef LODGE_KEEPER_IMAGE_H
#define LODGE_KEEPER_IMAGE_H

#include <limits.h>

#include "util/base.h"
#include "util/err.h"

#define IMAGE_NAME_MAX 64u
#define IMAGE_SIZE_DEFAULT (UINT64_C(8) << 30)
#define IMAGE_SIZE_MIN (UINT64_C(2) << 30)
#define IMAGE_SIZE_MAX (UINT64_C(64) << 40)

int image_check_name(const char *name, struct err *e);
/* Where the image of this name is, or would be. */
int image_path(const char *name, char path[PATH_MAX], struct err *e);
/* The folder that the path is in, for this user only, and those that it is in. */
int image_make_folder(char *path, struct err *e);
/* The Debian suite that `lodge image build NAME` makes ("bookworm"), or NULL. */
const char *image_suite(const char *name);
/* Makes it, with more packages (a list with commas; NULL: none), telling its phases on stderr unless quiet. -EEXIST if it is
 * there. */
int image_build(const char *name, uint64_t size, const char *packages, bool quiet, struct err *e);
/* Makes it if it is not there and can be made. */
int image_ensure(const char *name, bool quiet, struct err *e);

#endif
