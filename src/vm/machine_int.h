/* SPDX-License-Identifier: Apache-2.0 */
/* machine_int.h - inside of a machine, for machine*.c only. */
#ifndef LODGE_VM_MACHINE_INT_H
#define LODGE_VM_MACHINE_INT_H

#include "board/rtc.h"
#include "state/state_file.h"
#include "vm/hw.h"
#include "vm/machine.h"

enum request {
	REQ_NONE,
	REQ_RESET,
	REQ_POWEROFF,
	REQ_DEBUG_EXIT,
	REQ_TRIPLE_FAULT,
	REQ_PANIC,
	REQ_ERROR
};

struct machine {
	struct loop *loop;
	struct vm_config config;     /* as it is now: disks and cards change */
	const struct vm_config *cfg; /* it */
	struct config_fds fds; /* borrowed, but disks, cards, and kernel and initrd if `own_boot` */
	bool own_boot;	       /* they were taken from the saved state */
	const struct engine_class *engine;
	struct engine_begun *begun; /* for the hardware that is built next; NULL: nothing was begun */
	const struct machine_owner *owner;
	struct hw_owner hw_owner;

	pthread_mutex_t lock; /* the VM lock */
	enum machine_state state;
	struct gmem *mem;
	bool mem_is_zero; /* nobody has written to it yet */
	struct vmclock *clock;
	struct console *console;
	struct disks *disks;
	struct shares shares;
	struct disks_owner disks_owner;
	struct port_socket *agent; /* NULL: none */
	struct hw *hw;		   /* NULL while ENDING */
	struct engine *old_engine; /* of the hardware before the last reset, for `rest`; NULL: none */
	uint64_t paused_tsc;	   /* host TSC when the pause began */
	uint64_t n_resets;
	uint64_t reset_us;	 /* from the wish for the last one to the vCPUs' start */
	uint64_t balloon_bytes;	 /* as the operator set it; it lasts through resets */
	bool restored;		 /* from a file, and not started yet */
	struct state_file saved; /* the file it came from; fd -1: none */
	bool told_halted;	 /* since the last reset */
	const char *paused_by;	 /* while PAUSED: "request", "disk", "save"; NULL: as restored */

	struct loop_work act, dead, eject, rest;
	uint32_t ejected; /* atomic: PCI slots of devices that the guest has let go of */
	struct {
		enum request what;
		unsigned code, vcpu;
		uint64_t at_ns; /* clock_ns() */
		char text[sizeof(((struct engine_exit *)0)->why)];
	} req; /* VM lock */

	/* While ENDING: what is to be told when the console is done. */
	struct loop_timer flush_timer;
	bool finished;
	bool quit; /* somebody wants the end now */
	enum control_event end_event;
	json_t *end_details;
	int end_status;
	uint64_t end_pending; /* console bytes left when the timer was set */

	struct loop_timer idle_timer; /* until ENDING */
	uint64_t idle_cpu_ns;	      /* of all vCPUs when it last fired */
};

/* ---- machine.c ---- */

/* Pause and resume without a word to anybody. RUNNING; PAUSED. */
void machine_stop_time(struct machine *m);
void machine_let_time_run(struct machine *m);
/* Lets the vCPUs run if the state says so, and nothing is waiting to be done that stopped them. */
void machine_let_run(struct machine *m);
void machine_tell(struct machine *m, enum control_event ev, json_t *details);
/* 0, or -ESHUTDOWN. */
int machine_not_ending(const struct machine *m, struct err *e);

/* ---- machine_build.c ---- */

/* The engine begins in the background what machine_build_hw() then takes over. No hardware is there. */
void machine_begin_engine(struct machine *m);
int machine_create_memory(struct machine *m, struct err *e);
/* `from_state`: machine_state.c fills it in next, `slots` are from there too. `battery`: of the clock before a reset, or NULL. */
int machine_build_hw(struct machine *m, bool from_state, const struct hw_slots *slots,
		     const struct rtc_battery *battery, struct err *e);
/* A reset: the guest starts again, or stays paused. On failure there may be no hardware any more. */
int machine_rebuild(struct machine *m, struct err *e);
/* Gives back what a reset has left. */
void machine_rest(void *ctx);

/* ---- machine_dev.c ---- */

/* Takes away what the guest has let go of; and at a reset what it was asked to. Loop thread. */
void machine_eject(void *ctx);
void machine_take_leaving(struct machine *m);

/* ---- machine_state.c ---- */

/* Builds the hardware from the file "state". The machine is as if paused then. */
int machine_restore(struct machine *m, struct err *e);
/* Before a reset: kernel and initrd come from the file if they have to. */
int machine_boot_files(struct machine *m, struct err *e);

#endif
