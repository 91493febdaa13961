/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engines.c - the engines of this build, in order of preference.
 */
#include "engine/engine.h"

const struct engine_class *const engine_list[] = {
	&engine_kvm,
	&engine_soft,
	NULL,
};
