/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - saved state: named, versioned sections, written and read by one function per object.
 *
 * A `struct state` is a cursor with a direction. An object has one function that begins its section, names its fields one
 * by one, and ends the section; saving, each call appends the field, loading, each call replaces it. So what is saved and
 * what is loaded cannot drift apart:
 *
 *	static int uart_state(struct device *d, struct state *s)
 *	{
 *		struct uart *u = container_of(d, struct uart, dev);
 *		unsigned v = state_begin(s, "uart", d->id, 2);
 *
 *		state_u8(s, &u->ier);
 *		state_u32_max(s, &u->rx.len, FIFO);	 // more than FIFO: the load fails
 *		u->phase = state_choice(s, u->phase, PHASES);
 *		if (v >= 2)
 *			state_u8(s, &u->scratch);	 // new in version 2
 *		return state_end(s);
 *	}
 *
 * Rules.
 *  - The bytes are little-endian, without padding; nothing is a raw struct. A field keeps its place and width for ever; new
 *    fields come at the end, with a new version; the load of an older version leaves them as they are after a reset.
 *  - A section's name is an explicit string that outlives a rename of the code: "class" or "class:instance". One instance of a
 *    name. Order does not matter. A section that is missing, came twice, is of a newer version, is not consumed to
 *    its last byte, or that nobody asked for (state_finish()) is an error.
 *  - The first error sticks, with its sentence. After it saves do nothing, and loads give zeroes. A function may so
 *    go through to its end and test once; it must not use a loaded value as an index, a size or a divisor before
 *    it has tested. What state_u32_max() and state_choice() give is within the limit, whatever happened.
 *  - What was loaded is hostile until the object's loaded() has looked at it.
 *
 * Not thread-safe; a cursor belongs to one thread.
 */
#ifndef LODGE_STATE_STATE_H
#define LODGE_STATE_STATE_H

#include "util/buf.h"
#include "util/err.h"

#define STATE_NAME_MAX 63u	     /* bytes of a section's name */
#define STATE_SECTION_MAX (64 * MIB) /* bytes of one section */
#define STATE_SECTIONS_MAX 4096u

/* A section of the data that is being loaded. */
struct state_section {
	char name[STATE_NAME_MAX + 1];
	uint16_t version;
	bool used;
	const uint8_t *data;
	size_t len;
};

struct state {
	bool loading;
	bool open;		       /* between begin and end */
	struct err err;		       /* the first error; err.code 0: none */
	struct buf out;		       /* saving: all sections so far */
	size_t begun_at;	       /* saving: where the open section begins in `out` */
	struct state_section *section; /* loading: the directory */
	unsigned n_sections;
	struct state_section *current; /* loading: the open one */
	struct buf in;		       /* loading: its bytes */
	char name[STATE_NAME_MAX + 1]; /* of the open section, for messages */
};

/* ---- the owner of the cursor ---- */

void state_init_save(struct state *s);
/* `data` is borrowed and must outlive s. The directory, and each section's checksum, are checked here. */
int state_init_load(struct state *s, const void *data, size_t len, struct err *e);
/* The end: 0, or the first error. Loading: every section must have been asked for. The saved bytes are s->out. */
int state_finish(struct state *s, struct err *e);
void state_fini(struct state *s);

/* ---- objects ---- */

static inline bool state_loading(const struct state *s)
{
	return s->loading;
}
/* 0, or -errno of the first error. */
static inline int state_error(const struct state *s)
{
	return -s->err.code;
}
/* Loading: is there such a section? Saving: false. For objects that may or may not be there. */
bool state_has(const struct state *s, const char *class, const char *instance);

/* Begins section "class", or "class:instance" (instance not NULL). Returns the version of the data: `version` when saving, the
 * one in the file, 1..version, when loading. */
unsigned state_begin(struct state *s, const char *class, const char *instance, unsigned version);
/* Ends it. Returns state_error(). */
int state_end(struct state *s);
/* What was loaded cannot be: sets the error (also for who saves: what is in the object cannot be saved). Returns -EINVAL.
 * The sentence begins with the section's name. */
int state_fail(struct state *s, const char *fmt, ...) PRINTF_FORMAT(2, 3);

void state_u8(struct state *s, uint8_t *v);
void state_u16(struct state *s, uint16_t *v);
void state_u32(struct state *s, uint32_t *v);
void state_u64(struct state *s, uint64_t *v);
void state_i64(struct state *s, int64_t *v);
void state_bool(struct state *s, bool *v); /* one byte, 0 or 1 */
/* Fixed-size bytes, and arrays. */
void state_bytes(struct state *s, void *v, size_t len);
void state_u16s(struct state *s, uint16_t *v, size_t n);
void state_u32s(struct state *s, uint32_t *v, size_t n);
void state_u64s(struct state *s, uint64_t *v, size_t n);
/* At most max; a larger one is an error and gives 0. */
void state_u32_max(struct state *s, uint32_t *v, uint32_t max);
void state_u64_max(struct state *s, uint64_t *v, uint64_t max);
/* An enumeration: 0..limit-1, four bytes. Returns the value: `x = state_choice(s, x, X_COUNT)`; on error 0. */
unsigned state_choice(struct state *s, unsigned v, unsigned limit);
/*
 * A number that belongs to the machine and not to its state (how many queues there are, the size of a disk): saved, and compared
 * when loading. `what` for the sentence, "the number of queues".
 */
void state_same(struct state *s, uint64_t v, const char *what);
/* A text of at most size - 1 bytes, without NULs inside. */
void state_text(struct state *s, char *v, size_t size);
/*
 * Bytes of any length up to max: saving, `*len` bytes at `v`. Loading, returns a pointer to bytes inside the cursor's data and
 * sets *len; on error NULL and 0. For what has no fixed size.
 */
const void *state_blob(struct state *s, const void *v, size_t *len, size_t max);

#endif
