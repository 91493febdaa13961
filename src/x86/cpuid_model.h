/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_model.h - named processors: the same features on every host that can carry them, so that a guest can be moved between
 * unlike hosts.
 *
 * A model is a set of features, all of them needed of host and engine and no other shown, with a signature (family,
 * model, stepping) for each vendor and a name. The vendor itself is the host's, because Intel's and AMD's processors
 * differ in what a kernel relies on. "host" is no model but all that host and engine have.
 */
#ifndef LODGE_X86_CPUID_MODEL_H
#define LODGE_X86_CPUID_MODEL_H

#include "util/err.h"
#include "x86/cpuid.h"

extern const char *const cpuid_model_names[]; /* by enum cpuid_model; NULL-terminated */

/* Makes an answer of the host (out[4] of CPUID(leaf, sub)) into the model's, whose vendor is the host's. */
void cpuid_model_filter(enum cpuid_model m, enum cpuid_vendor vendor, uint32_t leaf, uint32_t sub,
			uint32_t out[4]);
/* The first feature of the model that a finished table lacks, by name; NULL: it has them all. */
const char *cpuid_model_missing(enum cpuid_model m, const struct cpuid_table *t);

/* 0, or -ENODEV with a sentence that names the feature, the engine ("software"), and the best model that the table has. */
int cpuid_model_check(enum cpuid_model m, const struct cpuid_table *t, const char *engine,
		      struct err *e);
/* "x86-64 x86-64-v2": the models that an engine with this source can give. Returns buf. */
const char *cpuid_model_list(cpuid_source host, char *buf, size_t size);

/* The name of a feature bit, or NULL. */
const char *cpuid_feature_name(uint32_t leaf, uint32_t sub, enum cpuid_reg reg, unsigned bit);

#endif
