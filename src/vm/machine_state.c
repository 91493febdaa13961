/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_state.c - a machine into a file, and out of one.
 *
 * Saving. The guest is paused; sections are gathered in memory, so that most errors come before a byte is written; then
 * the file is laid out and written: sections, guest memory, kernel and initrd (a reset after the load boots them again), what was
 * written to throw-away disks, the head last. What does not travel: bytes on their way between the UART and the console's reader, which come out here.
 *
 * Loading. The configuration in the file has to be that which the machine was started with, but for what is the host's. Memory
 * is a private view of the file (mem/gmem_file.c), or a copy where the engine has to share it. Hardware is built as at
 * power-on without a kernel, paused, and filled in. Whatever is wrong with the file, the worst is that this
 * machine does not start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/clock.h"
#include "vm/machine_int.h"

/* Which device is in which PCI slot. */
static void slots_state(struct hw_slots *slots, struct state *s)
{
	uint32_t n = slots->n;

	state_begin(s, "pci-slots", NULL, 1);
	state_u32_max(s, &n, HW_VIRTIO_MAX);
	slots->n = n;
	for (unsigned i = 0; i < n; i++) {
		state_text(s, slots->at[i].id, sizeof(slots->at[i].id));
		state_u8(s, &slots->at[i].slot);
		if (slots->at[i].slot > HW_VIRTIO_MAX)
			state_fail(s, "there is no such slot");
	}
	state_end(s);
}

/* ---- save ---- */

static int config_text(const struct machine *m, char **text, struct err *e)
{
	_autojson json_t *j = config_to_json(m->cfg);

	*text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	return *text ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int save_sections(struct machine *m, struct state *s, struct err *e)
{
	_autofree char *text = NULL;
	struct hw_slots slots;
	int r = config_text(m, &text, e);

	hw_virtio_slots(m->hw, &slots);
	slots_state(&slots, s);
	if (r == 0)
		r = state_file_config_section(s, &text);
	if (r == 0)
		r = hw_state(m->hw, s, m->paused_tsc, e);
	disks_state(m->disks, s);
	return state_finish(s, e) < 0 ? -EINVAL : r;
}

/* Where a file of the boot is: its own, or a part of the state that this machine came from. */
static int boot_file(const struct machine *m, enum config_fd fd, enum state_area area,
		     uint64_t *offset, uint64_t *size)
{
	struct stat st;

	*offset = *size = 0;
	if (m->fds.fd[fd] >= 0) {
		if (fstat(m->fds.fd[fd], &st) == 0)
			*size = (uint64_t)st.st_size;
		return m->fds.fd[fd];
	}
	if (m->saved.fd >= 0) {
		*offset = m->saved.area[area].offset;
		*size = m->saved.area[area].size;
	}
	return m->saved.fd;
}

static int save_file(struct machine *m, int fd, const struct buf *sections, uint64_t *n_pages,
		     struct err *e)
{
	struct state_file f = {.fd = fd};
	uint64_t offset[2], size[2];
	int from[2], r;

	from[0] = boot_file(m, CONFIG_FD_KERNEL, STATE_AREA_KERNEL, &offset[0], &size[0]);
	from[1] = boot_file(m, CONFIG_FD_INITRD, STATE_AREA_INITRD, &offset[1], &size[1]);
	f.area[STATE_AREA_MEMORY].size = m->mem->size_bytes;
	f.area[STATE_AREA_KERNEL].size = size[0];
	f.area[STATE_AREA_INITRD].size = size[1];
	f.area[STATE_AREA_OVERLAY].size = disks_overlay_bytes(m->disks);
	r = state_file_begin(&f, fd, sections, e);
	if (r < 0)
		return r;
	r = gmem_save(m->mem, fd, f.area[STATE_AREA_MEMORY].offset, n_pages);
	if (r < 0)
		return state_file_write_error(-r, e);
	r = state_file_copy(&f, STATE_AREA_KERNEL, from[0], offset[0], e);
	if (r == 0)
		r = state_file_copy(&f, STATE_AREA_INITRD, from[1], offset[1], e);
	if (r == 0)
		r = disks_overlay_copy(m->disks, false, fd, f.area[STATE_AREA_OVERLAY].offset, e);
	return r < 0 ? r : state_file_end(&f, e);
}

static int check_file(int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "the state can be saved to a regular file only");
	if (st.st_size != 0)
		return err_set(e, EEXIST, "the file to save to is not empty");
	return 0;
}

static int save(struct machine *m, int fd, uint64_t *n_pages, struct err *e)
{
	struct state s;
	int r = check_file(fd, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&m->lock);
	if (m->req.what != REQ_NONE)
		r = err_set(e, EBUSY, "the guest is just being reset or ended: nothing was saved");
	pthread_mutex_unlock(&m->lock);
	if (r < 0)
		return r;
	state_init_save(&s);
	r = save_sections(m, &s, e);
	if (r == 0)
		r = save_file(m, fd, &s.out, n_pages, e);
	state_fini(&s);
	return r;
}

int machine_save(struct machine *m, int fd, bool hold, json_t **out, struct err *e)
{
	bool running = m->state == MACHINE_RUNNING;
	uint64_t n_pages = 0, began = clock_ns();
	struct stat st = {0};
	int r;

	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	if (running)
		machine_stop_time(m);
	r = save(m, fd, &n_pages, e);
	if (running && (r < 0 || !hold))
		machine_let_time_run(m);
	else if (running)
		machine_tell(m, CONTROL_EV_PAUSED, NULL);
	if (running && m->state == MACHINE_PAUSED)
		m->paused_by = "save";
	if (r < 0)
		return r;
	(void)fstat(fd, &st);
	*out = json_pack("{s:I,s:I,s:I}", "bytes", (json_int_t)st.st_size, "memory_bytes",
			 (json_int_t)(n_pages * GMEM_PAGE), "ms",
			 (json_int_t)((clock_ns() - began) / CLOCK_NS_PER_MS));
	return *out ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* ---- load ---- */

/* The configuration that was saved, beside the one this machine has. */
static int check_config(const struct machine *m, const char *text, struct err *e)
{
	_autojson json_t *now = config_to_json(m->cfg);
	_autojson json_t *saved = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (!now)
		return err_set(e, ENOMEM, "out of memory");
	if (!json_is_object(saved))
		return err_set(e, EINVAL, "the saved state is damaged: its configuration is none");
	return config_same_machine(saved, now, e);
}

static int load_sections(struct machine *m, struct state *s, struct err *e)
{
	const struct state_file *f = &m->saved;
	_autofree char *text = NULL;
	struct hw_slots slots = {0};
	bool copy = m->engine->second_view && m->cfg->cpus > 1;
	int r;

	if (state_file_config_section(s, &text) < 0)
		return state_finish(s, e);
	r = check_config(m, text, e);
	if (r < 0)
		return r;
	if (f->area[STATE_AREA_MEMORY].size != m->mem->size_bytes ||
	    !f->area[STATE_AREA_KERNEL].size != !m->cfg->kernel_name[0] ||
	    !f->area[STATE_AREA_INITRD].size != !m->cfg->initrd_name[0])
		return err_set(
			e, EINVAL,
			"the saved state is damaged: memory, kernel or initrd is not as configured");
	disks_state(m->disks, s);
	slots_state(&slots, s);
	if (state_error(s) < 0)
		return state_finish(s, e);
	if (f->area[STATE_AREA_OVERLAY].size != disks_overlay_bytes(m->disks))
		return err_set(
			e, EINVAL,
			"the saved state is damaged: what was written to disks is not all there");
	r = disks_overlay_copy(m->disks, true, f->fd, f->area[STATE_AREA_OVERLAY].offset, e);
	if (r < 0)
		return r;
	r = gmem_load(m->mem, f->fd, f->area[STATE_AREA_MEMORY].offset, copy, e);
	if (r < 0)
		return r;
	r = machine_build_hw(m, true, &slots, NULL, e);
	if (r < 0)
		return r;
	hw_pause(m->hw);
	m->paused_tsc = clock_tsc();
	r = hw_state(m->hw, s, m->paused_tsc, e);
	return r < 0 ? r : state_finish(s, e);
}

int machine_restore(struct machine *m, struct err *e)
{
	struct state s;
	int r = state_file_open(&m->saved, m->fds.fd[CONFIG_FD_STATE], e);

	if (r == 0)
		r = state_init_load(&s, m->saved.sections, m->saved.sections_len, e);
	if (r < 0)
		return r;
	r = load_sections(m, &s, e);
	state_fini(&s);
	state_file_fini(&m->saved); /* the places of the areas stay */
	m->restored = r == 0;
	return r;
}

static int extract(struct machine *m, enum config_fd fd, enum state_area area, const char *name,
		   struct err *e)
{
	int r;

	if (m->fds.fd[fd] >= 0 || !m->saved.area[area].size)
		return 0;
	r = state_file_extract(&m->saved, area, name, e);
	if (r < 0)
		return r;
	m->own_boot = true;
	m->fds.fd[fd] = r;
	return 0;
}

int machine_boot_files(struct machine *m, struct err *e)
{
	int r;

	if (m->saved.fd < 0)
		return 0;
	r = extract(m, CONFIG_FD_KERNEL, STATE_AREA_KERNEL, "kernel", e);
	return r < 0 ? r : extract(m, CONFIG_FD_INITRD, STATE_AREA_INITRD, "initrd", e);
}
