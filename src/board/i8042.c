/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042.c - keyboard controller without keyboard and mouse, and the fast A20 / reset port.
 *
 * Commands to the controller itself are answered at once. A byte for a keyboard or mouse is answered as a real
 * controller does when nothing is plugged in: 0xfe with the time-out bit of the status register, so that
 * probing ends quickly. The A20 gate and the output port keep what is written; address line 20 is
 * always open. There is no interrupt, as nothing ever arrives by itself.
 */
#include "board/i8042.h"

#include <errno.h>
#include <stdlib.h>

#include "board/bus.h"
#include "board/layout.h"
#include "state/state.h"

#define STATUS_OBF 0x01u     /* a byte waits at port 0x60 */
#define STATUS_SYS 0x04u     /* self-test passed */
#define STATUS_COMMAND 0x08u /* last write went to 0x64 */
#define STATUS_UNLOCKED 0x10u
#define STATUS_AUX 0x20u
#define STATUS_TIMEOUT 0x40u

#define CONFIG_SYS 0x04u
#define CONFIG_RESET 0x35u /* system flag, both ports disabled, keyboard interrupt on */

#define OUTPUT_NORESET 0x01u
#define OUTPUT_A20 0x02u

struct i8042 {
	struct device dev;
	const struct dev_env *env;
	struct bus_range data, command, fast;
	uint8_t status, config, output, out_port, port92;
	uint8_t pending; /* command that expects a byte at 0x60; 0: none */
	uint8_t ram[32]; /* 0x20-0x3f; byte 0 is `config` */
};

static void i8042_put(struct i8042 *k, uint8_t value, uint8_t flags)
{
	k->output = value;
	k->status = (uint8_t)((k->status & ~(STATUS_AUX | STATUS_TIMEOUT)) | STATUS_OBF | flags);
}

static uint64_t data_read(void *ctx, uint64_t offset, unsigned size)
{
	struct i8042 *k = ctx;

	(void)offset;
	(void)size;
	k->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT);
	return k->output;
}

static void set_output_port(struct i8042 *k, uint8_t value)
{
	k->out_port = value | OUTPUT_NORESET;
	if (!(value & OUTPUT_NORESET))
		dev_request(k->env, DEV_REQ_RESET, 0);
}

static void data_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *k = ctx;
	uint8_t cmd = k->pending, v = (uint8_t)value;

	(void)offset;
	(void)size;
	k->pending = 0;
	k->status &= (uint8_t)~STATUS_COMMAND;
	switch (cmd) {
	case 0x60:
		k->config = v;
		k->status = (uint8_t)((k->status & ~STATUS_SYS) | (v & CONFIG_SYS ? STATUS_SYS : 0));
		break;
	case 0x61 ... 0x7f: k->ram[cmd - 0x60] = v; break;
	case 0xd1: set_output_port(k, v); break;
	case 0xd2: /* as if it came from the keyboard */ i8042_put(k, v, 0); break;
	case 0xd3: /* as if it came from the mouse */ i8042_put(k, v, STATUS_AUX); break;
	case 0xd4: /* to the mouse: absent */
		i8042_put(k, 0xfe, STATUS_AUX | STATUS_TIMEOUT);
		break;
	default: /* to the keyboard: absent */ i8042_put(k, 0xfe, STATUS_TIMEOUT); break;
	}
}

static uint64_t command_read(void *ctx, uint64_t offset, unsigned size)
{
	const struct i8042 *k = ctx;

	(void)offset;
	(void)size;
	return k->status;
}

static void command_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *k = ctx;
	uint8_t cmd = (uint8_t)value;

	(void)offset;
	(void)size;
	k->pending = 0;
	k->status |= STATUS_COMMAND;
	switch (cmd) {
	case 0x20: i8042_put(k, k->config, 0); break;
	case 0x21 ... 0x3f: i8042_put(k, k->ram[cmd - 0x20], 0); break;
	case 0x60 ... 0x7f:
	case 0xd1 ... 0xd4: k->pending = cmd; break;
	case 0xa7: /* mouse port off, on */ k->config |= 0x20; break;
	case 0xa8: k->config &= (uint8_t)~0x20u; break;
	case 0xa9: /* test mouse port: no error */
	case 0xab: /* test keyboard port: no error */ i8042_put(k, 0x00, 0); break;
	case 0xaa: /* self-test */
		k->status |= STATUS_SYS;
		k->config |= CONFIG_SYS;
		i8042_put(k, 0x55, 0);
		break;
	case 0xad: /* keyboard port off, on */ k->config |= 0x10; break;
	case 0xae: k->config &= (uint8_t)~0x10u; break;
	case 0xc0: /* input port: not locked */ i8042_put(k, 0x80, 0); break;
	case 0xd0: i8042_put(k, k->out_port, 0); break;
	case 0xdd: k->out_port &= (uint8_t)~OUTPUT_A20; break;
	case 0xdf: k->out_port |= OUTPUT_A20; break;
	case 0xf0 ... 0xff: /* pulse the output port bits that are 0 */
		if (!(cmd & OUTPUT_NORESET))
			dev_request(k->env, DEV_REQ_RESET, 0);
		break;
	}
}

static uint64_t fast_read(void *ctx, uint64_t offset, unsigned size)
{
	const struct i8042 *k = ctx;

	(void)offset;
	(void)size;
	return k->port92;
}

/* ICH9 §13.7.3: bit 0 going from 0 to 1 resets the processors, bit 1 is A20. */
static void fast_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *k = ctx;
	uint8_t old = k->port92;

	(void)offset;
	(void)size;
	k->port92 = (uint8_t)(value & 0x03);
	if (k->port92 & ~old & 0x01)
		dev_request(k->env, DEV_REQ_RESET, 0);
}

static const struct bus_ops data_ops = {data_read, data_write, 1};
static const struct bus_ops command_ops = {command_read, command_write, 1};
static const struct bus_ops fast_ops = {fast_read, fast_write, 1};

static void i8042_reset(struct device *d)
{
	struct i8042 *k = container_of(d, struct i8042, dev);

	k->status = STATUS_SYS | STATUS_UNLOCKED;
	k->config = CONFIG_RESET;
	k->out_port = OUTPUT_NORESET | OUTPUT_A20;
	k->port92 = 0x02;
	k->output = k->pending = 0;
}

/* No byte of it can be wrong: each is only shown, or looked up in a switch. */
static int i8042_state(struct device *d, struct state *s)
{
	struct i8042 *k = container_of(d, struct i8042, dev);

	state_begin(s, "i8042", NULL, 1);
	state_u8(s, &k->status);
	state_u8(s, &k->config);
	state_u8(s, &k->output);
	state_u8(s, &k->out_port);
	state_u8(s, &k->port92);
	state_u8(s, &k->pending);
	state_bytes(s, k->ram, sizeof(k->ram));
	return state_end(s);
}

static void i8042_destroy(struct device *d)
{
	struct i8042 *k = container_of(d, struct i8042, dev);

	bus_remove(k->env->ports, &k->data);
	bus_remove(k->env->ports, &k->command);
	bus_remove(k->env->ports, &k->fast);
	free(k);
}

static void i8042_dump(const struct device *d, struct text *t)
{
	const struct i8042 *k = container_of(d, const struct i8042, dev);

	text_print(t, "status %02x config %02x output-port %02x port92 %02x pending %02x\n",
		   k->status, k->config, k->out_port, k->port92, k->pending);
}

static const struct dev_class i8042_class = {
	.name = "i8042",
	.help = "keyboard controller: reset, A20; no keyboard",
	.destroy = i8042_destroy,
	.reset = i8042_reset,
	.state = i8042_state,
	.dump = i8042_dump,
};

int i8042_create(struct device **out, const struct dev_env *env, struct err *e)
{
	struct i8042 *k = calloc(1, sizeof(*k));
	int ret;

	*out = NULL;
	if (!k)
		return err_set(e, ENOMEM, "no memory for the keyboard controller");
	k->dev.class = &i8042_class;
	k->dev.id = "i8042";
	k->env = env;
	k->data = (struct bus_range){"i8042 data", LAYOUT_PORT_I8042, 1, &data_ops, k};
	k->command = (struct bus_range){"i8042 command", LAYOUT_PORT_I8042 + 4, 1, &command_ops, k};
	k->fast = (struct bus_range){"fast a20", LAYOUT_PORT_FAST_A20, 1, &fast_ops, k};
	i8042_reset(&k->dev);
	ret = bus_add(env->ports, &k->data, e);
	if (ret == 0)
		ret = bus_add(env->ports, &k->command, e);
	if (ret == 0)
		ret = bus_add(env->ports, &k->fast, e);
	if (ret < 0) {
		device_destroy(&k->dev);
		return ret;
	}
	*out = &k->dev;
	return 0;
}
