/* SPDX-License-Identifier: Apache-2.0 */
/* test_board_uart.c - 16550A: interrupt identification order, FIFOs, back-pressure, loop-back, registers. */
#include "board_env.h"

#include "board/uart.h"

#define PORT LAYOUT_PORT_COM1
#define RBR (PORT + 0)
#define IER (PORT + 1)
#define IIR (PORT + 2)
#define LCR (PORT + 3)
#define MCR (PORT + 4)
#define LSR (PORT + 5)
#define MSR (PORT + 6)
#define SCR (PORT + 7)

struct console {
	char out[256];
	size_t len, room; /* room: bytes it will take */
	unsigned rooms;	  /* calls of rx_room */
};

static size_t console_tx(void *ctx, const uint8_t *buf, size_t len)
{
	struct console *c = ctx;
	size_t n = MIN(len, c->room);

	assert_true(c->len + n < sizeof(c->out));
	memcpy(c->out + c->len, buf, n);
	c->len += n;
	c->room -= n;
	return n;
}

static void console_room(void *ctx)
{
	((struct console *)ctx)->rooms++;
}

static struct device *uart_new(struct board_env *b, struct console *c)
{
	struct uart_config cfg = {.id = "com1",
				  .port = PORT,
				  .gsi = LAYOUT_IRQ_COM1,
				  .backend = {c, console_tx, console_room}};
	struct device *d;

	memset(c, 0, sizeof(*c));
	c->room = 1000;
	assert_int_equal(uart_create(&d, &b->env, &cfg, NULL), 0);
	apic_on(b, 0);
	ioapic_put(b, 0x10 + 2 * LAYOUT_IRQ_COM1, 0x44);
	return d;
}

static bool line_up(struct board_env *b)
{
	char text[4096];

	irq_dump(b->irq, text, sizeof(text));
	return strtoul(text + strlen("lines "), NULL, 16) & (1u << LAYOUT_IRQ_COM1);
}

static void test_output(void **st)
{
	struct board_env *b = board_env_new(1);
	struct console c;
	struct device *d = uart_new(b, &c);

	(void)st;
	assert_int_equal(inb(b, LSR), 0x60);
	for (const char *s = "Hello"; *s; s++)
		outb(b, RBR, (uint8_t)*s);
	assert_int_equal(c.len, 5);
	assert_memory_equal(c.out, "Hello", 5);

	/* Back-pressure without FIFO: one character waits, more are lost. */
	c.room = 0;
	outb(b, RBR, '1');
	assert_int_equal(inb(b, LSR), 0x00);
	outb(b, RBR, '2');
	c.room = 10;
	uart_tx_ready(d);
	assert_int_equal(inb(b, LSR), 0x60);
	assert_memory_equal(c.out, "Hello1", 6);
	assert_int_equal(c.len, 6);

	/* With FIFO: 16, taken in parts, in order across the wrap. */
	outb(b, IIR, 0x01);
	c.len = c.room = 0;
	for (unsigned i = 0; i < 20; i++)
		outb(b, RBR, (uint8_t)('a' + i));
	c.room = 7;
	uart_tx_ready(d);
	assert_int_equal(c.len, 7);
	assert_int_equal(inb(b, LSR), 0x00);
	for (unsigned i = 0; i < 7; i++)
		outb(b, RBR, (uint8_t)('A' + i));
	c.room = 100;
	uart_tx_ready(d);
	assert_int_equal(c.len, 23);
	assert_memory_equal(c.out, "abcdefghijklmnopABCDEFG", 23);

	/* Clearing the FIFO drops what waits. */
	c.len = c.room = 0;
	outb(b, RBR, 'x');
	outb(b, IIR, 0x05);
	assert_int_equal(inb(b, LSR), 0x60);
	c.room = 10;
	uart_tx_ready(d);
	assert_int_equal(c.len, 0);

	/* Paused: holds; resumed: goes. */
	device_pause(d);
	outb(b, RBR, 'y');
	assert_int_equal(c.len, 0);
	assert_int_equal(uart_rx_space(d), 0);
	device_resume(d);
	assert_int_equal(c.len, 1);
	device_destroy(d);
	board_env_free(b);
}

static void test_interrupt_order(void **st)
{
	struct board_env *b = board_env_new(1);
	struct console c;
	struct device *d = uart_new(b, &c);
	uint8_t buf[20] = "0123456789abcdefgh";

	(void)st;
	assert_int_equal(inb(b, IIR), 0x01);
	outb(b, IER, 0x0f);
	/* THRE is the only one: shown once, gone after reading. But no line without OUT2. */
	assert_false(line_up(b));
	outb(b, MCR, 0x08);
	assert_true(line_up(b));
	assert_int_equal(inb(b, IIR), 0x02);
	assert_int_equal(inb(b, IIR), 0x01);
	assert_false(line_up(b));
	/* Sent at once: THRE again. */
	outb(b, RBR, 'x');
	assert_true(line_up(b));
	/* All four at the same time: line status, data, THRE, modem. */
	outb(b, IIR, 0xc1); /* FIFO, trigger 14 */
	outb(b, RBR, 'x');
	outb(b, MCR, 0x1a); /* loop-back: DSR and others fall */
	outb(b, MCR, 0x08);
	assert_int_equal(uart_rx_push(d, buf, 15), 15);
	uart_rx_break(d);
	assert_int_equal(inb(b, IIR), 0xc6);
	assert_int_equal(inb(b, IIR), 0xc6); /* reading does not clear this one */
	assert_int_equal(inb(b, LSR), 0xf1); /* BI, FIFO error, data */
	assert_int_equal(inb(b, IIR), 0xc4);
	(void)inb(b, RBR);
	(void)inb(b, RBR);
	assert_int_equal(inb(b, IIR), 0xc4); /* 14 left */
	(void)inb(b, RBR);
	assert_int_equal(inb(b, IIR), 0xcc); /* below the trigger: time-out */
	for (unsigned i = 0; i < 13; i++)
		(void)inb(b, RBR);
	assert_int_equal(inb(b, LSR) & 1, 0);
	assert_int_equal(inb(b, IIR), 0xc2);
	assert_int_equal(inb(b, IIR), 0xc0); /* modem */
	assert_true(line_up(b));
	assert_int_equal(inb(b, MSR) & 0xf0, 0xb0);
	assert_int_equal(inb(b, MSR), 0xb0);
	assert_int_equal(inb(b, IIR), 0xc1);
	assert_false(line_up(b));
	/* The enable bit rising makes THRE pending again (systems test for this). */
	outb(b, IER, 0x00);
	outb(b, IER, 0x02);
	assert_int_equal(inb(b, IIR), 0xc2);
	/* Characters wait: THRE comes when the last is taken. */
	c.room = 0;
	outb(b, RBR, 'x');
	outb(b, RBR, 'y');
	assert_int_equal(inb(b, IIR), 0xc1);
	c.room = 1;
	uart_tx_ready(d);
	assert_false(line_up(b));
	c.room = 1;
	uart_tx_ready(d);
	assert_true(line_up(b));
	assert_int_equal(inb(b, IIR), 0xc2);
	device_reset(d);
	assert_int_equal(inb(b, IIR), 0x01);
	device_destroy(d);
	board_env_free(b);
}

static void test_input(void **st)
{
	struct board_env *b = board_env_new(1);
	struct console c;
	struct device *d = uart_new(b, &c);
	uint8_t buf[32];

	(void)st;
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)i;
	/* One character without FIFO. */
	assert_int_equal(uart_rx_space(d), 1);
	assert_int_equal(uart_rx_push(d, buf, 5), 1);
	assert_int_equal(uart_rx_push(d, buf + 1, 4), 0);
	assert_int_equal(c.rooms, 0);
	assert_int_equal(inb(b, RBR), 0);
	assert_int_equal(c.rooms, 1);
	/* FIFO on: 16. Room is told once, when there is some after there was none. */
	outb(b, IIR, 0x01);
	assert_int_equal(uart_rx_push(d, buf, 32), 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(inb(b, RBR), i);
	assert_int_equal(c.rooms, 2);
	assert_int_equal(inb(b, LSR), 0x60);
	(void)inb(b, RBR);				/* empty: anything, no harm */
	for (unsigned round = 0; round < 10; round++) { /* around the ring */
		assert_int_equal(uart_rx_push(d, buf + round, 11), 11);
		for (unsigned i = 0; i < 11; i++)
			assert_int_equal(inb(b, RBR), round + i);
	}
	assert_int_equal(c.rooms, 2);
	/* Clearing makes room too. */
	uart_rx_push(d, buf, 32);
	outb(b, IIR, 0x03);
	assert_int_equal(c.rooms, 3);
	assert_int_equal(inb(b, LSR) & 1, 0);
	device_destroy(d);
	board_env_free(b);
}

static void test_registers(void **st)
{
	struct board_env *b = board_env_new(1);
	struct console c;
	struct device *d = uart_new(b, &c);

	(void)st;
	outb(b, SCR, 0xa5);
	assert_int_equal(inb(b, SCR), 0xa5);
	outb(b, IER, 0xff);
	assert_int_equal(inb(b, IER), 0x0f);
	outb(b, LCR, 0x83);
	outw(b, RBR, 0x1234);
	assert_int_equal(inw(b, RBR), 0x1234);
	outb(b, LCR, 0x03);
	assert_int_equal(inb(b, IER), 0x0f);
	assert_int_equal(c.len, 0);
	/* Loop-back: characters come back, modem outputs are the inputs, the outside hears nothing. */
	outb(b, MCR, 0x10);
	(void)inb(b, MSR);
	outb(b, MCR, 0x1a);
	assert_int_equal(inb(b, MSR), 0x99); /* how systems find a 16550: RTS, OUT2 -> CTS, DCD */
	outb(b, RBR, 0x5a);
	assert_int_equal(inb(b, LSR), 0x61);
	assert_int_equal(inb(b, RBR), 0x5a);
	outb(b, RBR, 1);
	outb(b, RBR, 2); /* overrun without FIFO */
	assert_int_equal(inb(b, LSR) & 0x02, 0x02);
	assert_int_equal(inb(b, LSR) & 0x02, 0);
	assert_int_equal(inb(b, RBR), 2);
	assert_int_equal(c.len, 0);
	assert_false(line_up(b));
	assert_int_equal(uart_rx_space(d), 0);
	outb(b, MCR, 0x16); /* RI: only its fall shows */
	(void)inb(b, MSR);
	outb(b, MCR, 0x12);
	assert_int_equal(inb(b, MSR), 0x14);
	c.rooms = 0;
	outb(b, MCR, 0x08);
	assert_int_equal(c.rooms, 1);
	/* FIFO bits in IIR. */
	outb(b, IER, 0);
	outb(b, IIR, 0xc0); /* without enable: nothing */
	assert_int_equal(inb(b, IIR), 0x01);
	outb(b, IIR, 0xc1);
	assert_int_equal(inb(b, IIR), 0xc1);
	device_destroy(d);
	board_env_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_interrupt_order),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_registers),
	};

	return cmocka_run_group_tests_name("board/uart", tests, NULL, NULL);
}
