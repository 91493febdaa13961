/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.h - both ways of the engine on the same guest, held against one another (lockstep.c).
 *
 * While v->lockstep is set, a unit of guest code is being run by one of the two sides. What the engine asks the
 * outside then goes through soft_lockstep_replay() and soft_lockstep_record() (lockstep_log.c), and who is about to store
 * to a page of guest memory says so by soft_lockstep_touch().
 */
#ifndef LODGE_ENGINE_SOFT_LOCKSTEP_H
#define LODGE_ENGINE_SOFT_LOCKSTEP_H

#include "engine/soft/soft.h"

/* What comes from outside, or must happen only once. */
enum soft_lockstep_call {
	LOCKSTEP_PORT_IN,
	LOCKSTEP_PORT_OUT,
	LOCKSTEP_MMIO_READ,
	LOCKSTEP_MMIO_WRITE,
	LOCKSTEP_MSR_READ,
	LOCKSTEP_MSR_WRITE,
	LOCKSTEP_CR8_READ,
	LOCKSTEP_CR8_WRITE,
	LOCKSTEP_TSC,
	LOCKSTEP_WALL_CLOCK,
	LOCKSTEP_RANDOM,
	LOCKSTEP_HYPERCALL,
	LOCKSTEP_EXCEPTION,
	LOCKSTEP_CALLS
};

struct soft_lockstep_entry {
	uint8_t call;	 /* enum soft_lockstep_call */
	uint8_t size;	 /* bytes */
	bool ok;	 /* the call's own verdict, where it has one */
	uint32_t number; /* port, MSR, exception vector */
	uint64_t addr;	 /* MMIO address; exception: RIP */
	uint64_t value;	 /* written; exception: error code */
	uint64_t result; /* read; exception: RFLAGS */
};

#define LOCKSTEP_ENTRIES 16384u
#define LOCKSTEP_PAGES 2048u

/* A page of guest memory that a unit stores to. */
struct soft_lockstep_page {
	uint8_t *host;
	bool table; /* accessed or dirty bits were set in it */
};

enum soft_lockstep_side { LOCKSTEP_TRANSLATED, LOCKSTEP_REFERENCE };

struct soft_lockstep {
	enum soft_lockstep_side side;
	bool replay;		  /* the outside is what the log says */
	bool overflow;		  /* too many pages or calls to compare this unit */
	bool differs;		  /* found by a call */
	char why[160];		  /* that difference */
	uint32_t n_entries, next; /* in the log; the next one to replay */
	uint32_t n_pages;
	struct soft_lockstep_page page[LOCKSTEP_PAGES];
	uint8_t (*old)[4096];	 /* pages as they were before the unit */
	uint8_t (*shadow)[4096]; /* as the reference way sees them: it stores here */
	uint32_t *slot;		 /* by page of guest memory: index in page[], where page[] agrees */
	uint8_t *spare;		 /* a page for stores that will not be looked at */
	uint64_t n_fill;	 /* n_tlb_fill of the vCPU when its TLB was last emptied */
	uint64_t n_written;	 /* of struct soft when the unit began */
	struct soft_lockstep_entry entry[LOCKSTEP_ENTRIES];
	struct x86_state before, translated;
	/* The rest of a vCPU that guest code changes. */
	struct soft_lockstep_rest {
		uint64_t pdpte[4], trap_dr6;
		bool trap_pending, shutdown;
	} rest_before, rest_translated;
	uint64_t n_units, n_insns, n_skipped;
	size_t mapped; /* bytes from here on */
};

/* One turn of the run loop at an instruction boundary with nothing due: a unit both ways. False: they differ; `why` says
 * where and how (the details are logged). */
bool soft_lockstep_run(struct soft_vcpu *v, char *why, size_t size);
/* Around what touches guest memory in a turn of the run loop: one vCPU at a time. */
void soft_lockstep_enter(struct soft_vcpu *v);
void soft_lockstep_leave(struct soft_vcpu *v);
void soft_lockstep_destroy(struct soft_vcpu *v);

/* Guest memory at `host` is about to be stored to; `table`: accessed or dirty bits. Returns where instead. */
uint8_t *soft_lockstep_touch(struct soft_vcpu *v, uint8_t *host, bool table);
/* Where the side that runs finds this page of guest memory. */
uint8_t *soft_lockstep_page(const struct soft_vcpu *v, uint8_t *host);

/* ---- lockstep_log.c ---- */

/* True: *e is answered from the log, and the call is not to be made. */
bool soft_lockstep_replay(struct soft_vcpu *v, struct soft_lockstep_entry *e);
/* The call was made. */
void soft_lockstep_record(struct soft_vcpu *v, const struct soft_lockstep_entry *e);
/* v->exc is about to be delivered. */
void soft_lockstep_exception(struct soft_vcpu *v);
/* Does the code at s.rip overwrite all of these status flags before anybody can see them? False when that is not certain. */
bool soft_lockstep_dead(struct soft_vcpu *v, uint32_t flags);

/* ---- lockstep_report.c ---- */

/* Registers of both sides, and memory against its shadow. v->s is the reference's. */
bool soft_lockstep_same(struct soft_vcpu *v);
/* Logs what differs behind the code at [va, va + bytes) (0: not known), and writes one sentence of it to `why`. */
void soft_lockstep_report(struct soft_vcpu *v, uint64_t va, unsigned bytes, uint64_t n_insns,
			  char *why, size_t size);

#endif
