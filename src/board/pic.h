/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic.h - the two 8259A interrupt controllers, slave cascaded on input 2 (8259A data sheet; ICH9 §5.8).
 *
 * Belongs to irq.c, which holds its lock around every call here, register accesses included.
 */
#ifndef LODGE_BOARD_PIC_H
#define LODGE_BOARD_PIC_H

#include "board/device.h"
#include "x86/irqchip.h"

struct pic {
	struct irqchip_8259 chip[2];	       /* master, slave */
	bool intr;			       /* output */
	void (*output)(void *ctx, bool level); /* called when it changes */
	void *ctx;
	uint64_t n_acked;
};

void pic_init(struct pic *p, void (*output)(void *ctx, bool level), void *ctx);
void pic_reset(struct pic *p);
void pic_set(struct pic *p, unsigned irq, bool level);
/* Interrupt acknowledge: the vector. */
uint8_t pic_inta(struct pic *p);
/* reg 0 command, 1 data. */
uint8_t pic_read(struct pic *p, unsigned chip, unsigned reg);
void pic_write(struct pic *p, unsigned chip, unsigned reg, uint8_t value);
uint8_t pic_elcr_read(const struct pic *p, unsigned chip);
void pic_elcr_write(struct pic *p, unsigned chip, uint8_t value);
/* Saved state: chips as they were, without an output() for it; returns the output. `in` was checked. */
bool pic_loaded(struct pic *p, const struct irqchip_pic *in);
void pic_dump(const struct pic *p, struct text *t);

#endif
