/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - calls through a device's class. */
#include "board/device.h"

#include "state/state.h"

void device_destroy(struct device *d)
{
	if (d && d->class && d->class->destroy)
		d->class->destroy(d);
}

void device_reset(struct device *d)
{
	if (d && d->class->reset)
		d->class->reset(d);
}

void device_pause(struct device *d)
{
	if (d && d->class->pause)
		d->class->pause(d);
}

void device_resume(struct device *d)
{
	if (d && d->class->resume)
		d->class->resume(d);
}

int device_state(struct device *d, struct state *s)
{
	if (!d)
		return 0;
	if (!d->class->state)
		return state_fail(s, "the device \"%s\" (%s) cannot be saved", d->id,
				  d->class->name);
	return d->class->state(d, s);
}

int device_loaded(struct device *d, struct err *e)
{
	return d && d->class->loaded ? d->class->loaded(d, e) : 0;
}

int device_dump(const struct device *d, char *buf, size_t size)
{
	struct text t = {buf, size, 0};

	if (size)
		buf[0] = '\0';
	if (!d)
		return 0;
	text_print(&t, "%s (%s)\n", d->id, d->class->name);
	if (d->class->dump)
		d->class->dump(d, &t);
	return (int)t.len;
}
