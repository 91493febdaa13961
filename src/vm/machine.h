/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - one virtual machine: its life from start to end, and what can be asked of it.
 *
 * Everything here is called on the loop thread, VM lock not held, unless it says otherwise.
 *
 * States, and what may be done in each:
 *   BUILT    made, not started: machine_start(), machine_destroy().
 *   RUNNING  vCPUs run: everything.
 *   PAUSED   all vCPUs parked, board time and the guest's TSC stand still: everything. A reset stays paused, the power
 *            button is seen after the resume.
 *   ENDING   the hardware is gone, the console's last bytes are on their way; then the final event and `ended` come.
 *            Requests are refused with -ESHUTDOWN, but machine_quit(), which cuts the wait for the console short.
 *
 * Threads: the loop thread, and one thread a vCPU (vcpu.h). A vCPU's thread never waits for the loop thread; it may ask for
 * something by a post. The loop thread may wait for the vCPUs (pause), but not with a lock held.
 *
 * Lock order, outermost first:
 *   1. VM lock (machine.c): device registers, buses, console ring, device timers' callbacks. Taken by the engine_host
 *      callbacks and by loop code that touches devices; never by a device itself.
 *   2. irq router (board/irq.h): PIC and IOAPIC; an MSI-X table (board/pci.h).
 *   3. a local APIC's (board/lapic.h); only one at a time.
 *   4. innermost, nothing is taken under them: the loop's (timers, posts), the vCPU set's, the log's, the engine's own.
 * Interrupts thus can be raised from any thread with or without the VM lock, and irq_pending takes no lock.
 */
#ifndef LODGE_VM_MACHINE_H
#define LODGE_VM_MACHINE_H

#include "engine/engine.h"
#include "proto/control.h"
#include "util/loop.h"

struct machine;

enum machine_state { MACHINE_BUILT, MACHINE_RUNNING, MACHINE_PAUSED, MACHINE_ENDING };

/* Exit status of the process, as proto/control.h says. */
enum { MACHINE_EXIT_OK = 0, MACHINE_EXIT_ERROR = 1, MACHINE_EXIT_CRASHED = 3 };

struct machine_owner {
	void *ctx;
	/* Something happened; `details` is the callee's and may be NULL. Loop thread. */
	void (*event)(void *ctx, enum control_event ev, json_t *details);
	/* After the final event, once: the machine can be destroyed (not from inside). Loop thread. */
	void (*ended)(void *ctx, int status);
	/* What "info" tells of the process: a new array, or NULL. NULL: nothing. */
	json_t *(*sandbox)(void *ctx);
	/* The files of gmem_open_thp() for the guest's memory, to be taken over, or false. NULL: as false. */
	bool (*memory)(void *ctx, int fd[2]);
};

/*
 * Builds it up to the point where the first instruction can run. The configuration is copied. The files of disks and network cards are
 * taken over, also when it fails; the other fds, class and owner are borrowed for life.
 */
int machine_create(struct machine **out, struct loop *l, const struct vm_config *cfg,
		   struct config_fds *fds, const struct engine_class *engine,
		   const struct machine_owner *owner, struct err *e);
int machine_start(struct machine *m, struct err *e);
/* In any state; accepts NULL. No event comes from it. */
void machine_destroy(struct machine *m);
enum machine_state machine_state(const struct machine *m);

/* 0, also when already so, or -ESHUTDOWN (but quit). A reset that fails ends the machine with the event "error". */
int machine_pause(struct machine *m, struct err *e);
int machine_resume(struct machine *m, struct err *e);
int machine_powerdown(struct machine *m, struct err *e);
int machine_reset(struct machine *m, struct err *e);
int machine_quit(struct machine *m, struct err *e);

/*
 * Saves everything into an empty writable file. The guest stands still meanwhile, and this thread does nothing else. Then it goes
 * on, or with `hold`, if all went well, stays paused. *out: {"bytes", "memory_bytes", "ms"}.
 */
/* *fd is a client's stream socket for the guest agent's port; -1 if it was taken over. */
int machine_agent(struct machine *m, int *fd, json_t **out, struct err *e);
int machine_save(struct machine *m, int fd, bool hold, json_t **out, struct err *e);

/* Results of the control commands of these names; *out is the caller's. */
int machine_query(struct machine *m, json_t **out, struct err *e);
int machine_info(struct machine *m, json_t **out, struct err *e);
int machine_stats(struct machine *m, json_t **out, struct err *e);
int machine_look(struct machine *m, json_t **out, struct err *e);
/* Sets how much memory the guest's balloon is to take, if `bytes` is not NULL; answers with the sizes. */
int machine_balloon(struct machine *m, const uint64_t *bytes, json_t **out, struct err *e);
int machine_disk_limit(struct machine *m, const struct control_request *rq, struct err *e);
int machine_disk_grow(struct machine *m, const struct control_request *rq, json_t **out,
		      struct err *e);
int machine_disks(struct machine *m, json_t **out, struct err *e);
int machine_nets(struct machine *m, json_t **out, struct err *e);
int machine_net_limit(struct machine *m, const struct control_request *rq, struct err *e);
int machine_net_link(struct machine *m, const struct control_request *rq, struct err *e);
/*
 * Hot-plug: a new disk or network card, whose files are taken over (and are -1 then) if all goes well; and away with one. `force`
 * takes what is behind the device at once. The events "disk-removed" and "net-removed" come when the guest has let go.
 */
int machine_disk_add(struct machine *m, const json_t *config, int *fd, unsigned n_fds,
		     struct err *e);
int machine_disk_rm(struct machine *m, const struct control_request *rq, struct err *e);
int machine_net_add(struct machine *m, const json_t *config, int *fd, unsigned n_fds, struct err *e);
int machine_net_rm(struct machine *m, const struct control_request *rq, struct err *e);
int machine_dump(struct machine *m, unsigned vcpu, json_t **out, struct err *e);

#endif
