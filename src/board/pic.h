/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic.h - the two 8259A interrupt controllers, slave cascaded on input 2 (8259A data sheet; ICH9 §5.8).
 *
 * Belongs to irq.c, which holds its lock around every call here, register accesses included.
 */
#ifndef LODGE_BOARD_PIC_H
#define LODGE_BOARD_PIC_H

#include "board/device.h"

struct pic_chip {
	uint8_t irr; /* requests latched (edge) or present (level) */
	uint8_t imr, isr;
	uint8_t line;	/* inputs as they are */
	uint8_t elcr;	/* 1: level-triggered */
	uint8_t base;	/* vector of input 0 (ICW2) */
	uint8_t lowest; /* input with the lowest priority; 7 at first */
	uint8_t icw;	/* next ICW expected: 0 none, 2, 3, 4 */
	bool icw4_needed, single;
	bool auto_eoi, rotate_aeoi, special_mask, special_nested;
	bool read_isr; /* OCW3: which register the command port shows */
	bool poll;     /* OCW3: next read is a poll */
};

struct pic {
	struct pic_chip chip[2];	       /* master, slave */
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
void pic_dump(const struct pic *p, struct dev_text *t);

#endif
