/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml.h - a small writer for ACPI Machine Language (ACPI 6.5 §20.2): appends terms to a buffer.
 *
 * Terms with a length (Scope, Device, Method, If, Package, Buffer) are opened and closed; aml_close() closes
 * the innermost one and encodes its PkgLength in as few bytes as it takes. Operators are written in prefix
 * form: the operator, then its operands. Errors stick: check aml_error() once at the end.
 */
#ifndef LODGE_BOARD_AML_H
#define LODGE_BOARD_AML_H

#include "util/base.h"

#define AML_DEPTH 16

struct aml {
	uint8_t *buf; /* owned */
	size_t len, cap;
	int error; /* 0 or -errno, the first one */
	unsigned depth;
	struct {
		size_t start; /* where the PkgLength goes; the content starts there while the term is open */
		bool resources; /* a resource template: gets its end tag and buffer size at close */
	} open[AML_DEPTH];
};

void aml_init(struct aml *a);
void aml_fini(struct aml *a);
int aml_error(const struct aml *a); /* also -EINVAL when something is still open */

/* One-byte and two-byte (0x5b prefix) operators, to be followed by their operands. */
enum aml_op {
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_XOR = 0x7f,
	AML_RETURN = 0xa4,
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93,
	AML_NOTIFY = 0x86,
	AML_CREATE_DWORD_FIELD = 0x8a
};
void aml_op(struct aml *a, enum aml_op op);
void aml_null(struct aml *a);		   /* NullName: no target */
void aml_arg(struct aml *a, unsigned n);   /* Arg0..Arg6 */
void aml_local(struct aml *a, unsigned n); /* Local0..Local7 */

/* Data. Integers take the shortest encoding; `path` is like "\\_SB.PCI0", "^LNKA" or "ABC" (padded to 4). */
void aml_int(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);	/* 7-bit */
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A08" as an integer (§19.3.4) */
void aml_uuid(struct aml *a, const char *uuid); /* 36 characters, as a 16-byte buffer (§19.6.142) */
void aml_path(struct aml *a, const char *path);

/* Name (path, ...): the value follows. */
void aml_name(struct aml *a, const char *path);
void aml_name_int(struct aml *a, const char *path, uint64_t v);
void aml_name_string(struct aml *a, const char *path, const char *s);
void aml_name_eisaid(struct aml *a, const char *path, const char *id);

/* Terms that are closed by aml_close(). */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned n_args, bool serialized);
void aml_package(struct aml *a, unsigned n_elements);
void aml_if(struct aml *a);	   /* the predicate follows, then the body */
void aml_else(struct aml *a);	   /* right after the If's close */
void aml_resources(struct aml *a); /* ResourceTemplate: only the functions below inside */
void aml_close(struct aml *a);

/* OperationRegion over ports; a Field of 32-bit names over it, one after the other, to be closed (§20.2.5.2). */
void aml_region_io(struct aml *a, const char *name, uint16_t base, uint8_t size);
void aml_field(struct aml *a, const char *region);
void aml_field_dword(struct aml *a, const char *name);

/* Resource descriptors (§6.4). Ranges are fixed: [base, base + size). */
void aml_res_io(struct aml *a, uint16_t base, uint8_t size);
void aml_res_irq(struct aml *a, unsigned irq); /* edge, active high, exclusive */
void aml_res_gsi(struct aml *a, uint32_t gsi); /* level, active high, exclusive */
void aml_res_mem32(struct aml *a, uint32_t base, uint32_t size, bool writable);
/* Windows of a bridge (ResourceProducer). */
void aml_res_window_bus(struct aml *a, uint16_t first, uint16_t last);
void aml_res_window_io(struct aml *a, uint16_t first, uint16_t last);
void aml_res_window_mem32(struct aml *a, uint32_t base, uint32_t size);
void aml_res_window_mem64(struct aml *a, uint64_t base, uint64_t size);

#endif
