/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_virtio.c - one virtio device (FUZZ_KIND, a name of fuzz_kinds.h) on a board, and a driver that does what the input says.
 *
 * Theory of operation. The driver reaches the device as a guest does: configuration space, BAR, rings in guest memory. An
 * input begins with a negotiation; then come operations: requests that are right but for what the input damages, chains of
 * any shape, kicks, turns of the loop, events on the host's side, register accesses, resets, pauses, saves.
 *
 * Memory that changes while a queue is served: an operation arms writes to rings, tables and buffers that happen at the n-th
 * of the calls by which the devices and the ring walker look at guest memory (the linker leads them here, --wrap). So what
 * another vCPU would do in between happens at the same place each time, without a thread.
 *
 * What must hold: no report of a sanitizer, no ASSERT, no input that takes long; a reset ends when the host's I/O has; and as
 * long as nothing was damaged, used rings are as the specification says (virtq_driver.h checks).
 */
#include "fuzz_kinds.h"

#include "../unit/state_forge.h"

#include "state/state.h"

#define QUEUES MIN(f->d->n_queues, 6u)
#define OPERATIONS 400u

static const struct kind *kind;
static bool tampered; /* rings need not make sense any more, until the next negotiation */
static bool paused;

/* ---- guest memory that changes ---- */

struct poke {
	unsigned when; /* calls from now */
	gpa_t at;
	uint64_t value;
	unsigned size;
};

static struct poke pokes[8];
static unsigned n_pokes;
static bool quiet; /* the harness itself looks at memory */

void *__real_gmem_at(const struct gmem *m, gpa_t gpa, uint64_t len);
void *__wrap_gmem_at(const struct gmem *m, gpa_t gpa, uint64_t len);
void __real_gmem_written(struct gmem *m, gpa_t gpa, uint64_t len);
void __wrap_gmem_written(struct gmem *m, gpa_t gpa, uint64_t len);
int __real_gmem_discard(struct gmem *m, gpa_t gpa, uint64_t len);
int __wrap_gmem_discard(struct gmem *m, gpa_t gpa, uint64_t len);
struct virtq_chain *__real_virtq_pop(struct virtq *q);
struct virtq_chain *__wrap_virtq_pop(struct virtq *q);
size_t __real_virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len);
size_t __wrap_virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len);
size_t __real_virtq_chain_write(struct virtq_chain *c, uint64_t off, const void *buf, size_t len);
size_t __wrap_virtq_chain_write(struct virtq_chain *c, uint64_t off, const void *buf, size_t len);

static void memory_moves_on(void)
{
	if (quiet)
		return;
	for (unsigned i = 0; i < n_pokes; i++) {
		uint8_t *p;

		if (pokes[i].when-- > 0)
			continue;
		p = __real_gmem_at(f->mem, pokes[i].at, pokes[i].size);
		if (p)
			memcpy(p, &pokes[i].value, pokes[i].size);
		pokes[i] = pokes[--n_pokes];
	}
}

void *__wrap_gmem_at(const struct gmem *m, gpa_t gpa, uint64_t len)
{
	memory_moves_on();
	return __real_gmem_at(m, gpa, len);
}

void __wrap_gmem_written(struct gmem *m, gpa_t gpa, uint64_t len)
{
	memory_moves_on();
	__real_gmem_written(m, gpa, len);
}

/* The driver may give away the memory that its rings are in. */
int __wrap_gmem_discard(struct gmem *m, gpa_t gpa, uint64_t len)
{
	tampered = true;
	return __real_gmem_discard(m, gpa, len);
}

struct virtq_chain *__wrap_virtq_pop(struct virtq *q)
{
	memory_moves_on();
	return __real_virtq_pop(q);
}

size_t __wrap_virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len)
{
	memory_moves_on();
	return __real_virtq_chain_read(c, off, buf, len);
}

size_t __wrap_virtq_chain_write(struct virtq_chain *c, uint64_t off, const void *buf, size_t len)
{
	memory_moves_on();
	return __real_virtq_chain_write(c, off, buf, len);
}

/* A place in what a queue consists of, at its beginning most of the time. */
static gpa_t some_place(struct input *in)
{
	const struct drv *d = &f->q[in8(in) % QUEUES];
	uint8_t how = in8(in);
	unsigned off = how & 0x80 ? in16(in) : how & 0x1f;

	switch (how >> 5 & 3) {
	case 0: return d->set.desc + off;
	case 1: return d->set.driver + off % 0x1000;
	case 2: return d->set.device + off % 0x1000;
	default: return how & 0x80 ? FIX_DATA + off * 16u : d->tables + off;
	}
}

static void poke(struct input *in, bool later)
{
	struct poke p = {.at = some_place(in), .size = 1u << in8(in) % 4};

	p.value = in_edge(in);
	tampered = true;
	if (later) {
		p.when = in8(in) % 64;
		if (n_pokes < ARRAY_SIZE(pokes))
			pokes[n_pokes++] = p;
	} else if (gmem_write(f->mem, p.at, &p.value, p.size) < 0) {
		tampered = true;
	}
}

/* ---- the driver ---- */

static void turn(unsigned n)
{
	quiet = false;
	while (n--)
		loop_run_once(f->loop, 0);
	quiet = true;
}

/* Completes all that is under way on the host's side. */
static void settle(void)
{
	static const uint8_t everything[] = {0xff, 0};

	for (unsigned i = 0; i < 300; i++) {
		struct input in = {everything, sizeof(everything)};

		turn(2);
		/* What failed for want of room waits for the operator, also at a reset. */
		if (kind->create == blk_kind_create && blk_full(blk))
			blk_resume(blk);
		if (kind->create == blk_kind_create && ram->n_pending)
			kind->event(&in);
		else if (kind->create == fs_kind_create && i < 4)
			fs_kind_settle();
		else
			break;
	}
}

static void negotiate(struct input *in)
{
	static const uint16_t sizes[] = {1, 2, 3, 4, 8, 16, 64, 256};
	uint8_t how = in8(in);
	uint64_t features;

	if (paused) {
		device_resume(&f->d->pci.dev);
		paused = false;
	}
	n_pokes = 0;
	fix_map(f);
	fix_set(f, C_STATUS, 0, 1);
	turn(2);
	if (in8(in) & 1) /* a driver that waits for the reset, as it has to */
		settle();
	fix_set(f, C_STATUS, 1, 1);
	fix_set(f, C_STATUS, 3, 1);
	features = fix_offered(f);
	if (how & 1)
		features &= ~VIRTIO_F_PACKED;
	if (how & 2)
		features &= ~VIRTIO_F_EVENT_IDX;
	if (how & 4)
		features &= ~VIRTIO_F_INDIRECT;
	if (how & 8)
		features &= in32(in) | ~(BIT(24) - 1);
	fix_set(f, C_GF_SELECT, 0, 4);
	fix_set(f, C_GF, (uint32_t)features, 4);
	fix_set(f, C_GF_SELECT, 1, 4);
	fix_set(f, C_GF, features >> 32, 4);
	fix_set(f, C_STATUS, 11, 1);
	if (how & 16)
		fix_cfg_set(f, fix_find_cap(f, PCI_CAP_MSIX, 0) + 2, 0, 2);
	else
		fix_msix(f);
	fix_set(f, C_VECTOR, 0, 2);
	f->n_queues = QUEUES;
	for (unsigned i = 0; i < f->n_queues; i++) {
		uint16_t size = sizes[how >> 5], max;

		fix_set(f, C_Q_SELECT, i, 2);
		max = (uint16_t)fix_get(f, C_Q_SIZE, 2);
		if (size == 3 && (how & 1)) /* of a split ring a power of two */
			size = 4;
		fix_queue(f, i, MIN(size, MAX(max, 1)), features);
	}
	/* After a reset that is not through yet, the device knows nothing of all that. */
	tampered = fix_get(f, C_STATUS, 1) != 11;
	fix_set(f, C_STATUS, 15, 1);
	turn(2);
}

static void take_used(void)
{
	uint32_t len;

	for (unsigned i = 0; i < f->n_queues && !tampered; i++)
		while (drv_get(&f->q[i], &len) >= 0)
			;
	for (unsigned i = 0; i < 64 && lapic_irq_pending(f->b->lapics, 0); i++)
		(void)take_irq(f->b, 0);
}

static void add_request(struct input *in)
{
	struct drv_seg s[DRV_SEGS_MAX];
	uint8_t where = in8(in);
	unsigned q = (where & 7) % f->n_queues;
	gpa_t at = FIX_DATA + (gpa_t)(in8(in) & 0x3f) * 0x20000;
	unsigned n = kind->request(in, q, at, s);

	drv_add(&f->q[q], s, n, (where & 8) && f->q[q].set.indirect);
	if (where & 16)
		fix_kick(f, q);
}

static void add_any(struct input *in)
{
	static const uint32_t len[] = {0, 1, 4, 8, 12, 16, 44, 64, 512, 1024, 4096, 65536};
	uint8_t shape = in8(in), where = in8(in);
	unsigned q = (where & 7) % f->n_queues, n = shape & 7;
	struct drv_seg s[8];

	for (unsigned i = 0; i < n; i++) {
		uint8_t how = in8(in);

		s[i] = (struct drv_seg){FIX_DATA + (gpa_t)(in8(in) & 0x3f) * 0x20000 + 0x1000u * i,
					len[how % ARRAY_SIZE(len)], i >= (shape >> 3 & 7)};
		if (how & 0x40)
			s[i].addr = in_edge(in);
		if (how & 0x80)
			put_input(in, FIX_DATA + i * 0x1000, 32);
	}
	if (n)
		drv_add(&f->q[q], s, n, where & 8);
	fix_kick(f, q);
}

static void registers(struct input *in)
{
	static const uint16_t base[] = {0, 0, B_ISR, B_DEVICE, B_NOTIFY, B_MSIX, 0x9000, 0x4000};
	uint8_t how = in8(in);
	unsigned off = base[how & 7] + in8(in), size = 1u << (how >> 3 & 3);

	if (how & 0x80) {
		(void)fix_get(f, off, size);
		return;
	}
	tampered = true;
	fix_set(f, off, in_edge(in), size);
}

static void config_space(struct input *in)
{
	uint8_t how = in8(in);
	unsigned reg = in8(in) | (how & 4 ? 0x100 : 0), size = 1u << how % 3;

	if (how & 0x80) {
		(void)fix_cfg(f, reg, size);
		return;
	}
	tampered = true;
	fix_cfg_set(f, reg, (uint32_t)in_edge(in), size);
}

static void queue_reset(struct input *in)
{
	unsigned q = in8(in) % f->n_queues;
	struct virtq_setup set = f->q[q].set;
	uint64_t features = (set.packed ? VIRTIO_F_PACKED : 0) |
			    (set.event_idx ? VIRTIO_F_EVENT_IDX : 0) |
			    (set.indirect ? VIRTIO_F_INDIRECT : 0);

	fix_set(f, C_Q_SELECT, q, 2);
	fix_set(f, C_Q_RESET, 1, 2);
	turn(1);
	if (in8(in) & 1)
		settle();
	tampered |= fix_get(f, C_Q_RESET, 2) != 0;
	fix_queue(f, q, set.size, features);
	turn(1);
}

static void pause_and_go(void)
{
	quiet = false;
	if (paused)
		device_resume(&f->d->pci.dev);
	else
		device_pause(&f->d->pci.dev);
	quiet = true;
	paused = !paused;
}

static void make_device(void)
{
	kind->create();
	ASSERT(pci_root_add(f->root, &f->d->pci, PCI_DEVFN(FIX_SLOT, 0), NULL) == 0);
}

static void drop_device(void)
{
	device_destroy(&f->d->pci.dev);
	if (kind->destroy)
		kind->destroy();
}

static int load(const uint8_t *bytes, size_t len)
{
	struct err e = {0};
	struct state s;
	int r = state_init_load(&s, bytes, len, &e);

	if (r == 0) {
		r = device_state(&f->d->pci.dev, &s);
		if (r == 0)
			r = state_finish(&s, &e);
		if (r == 0)
			r = device_loaded(&f->d->pci.dev, &e);
		state_fini(&s);
	}
	ASSERT(r == 0 || e.msg[0] || e.code == 0);
	return r;
}

/* Saves, damages what was saved, and goes on in another device that it is loaded into. */
static void move_on(struct input *in)
{
	unsigned damage = in8(in) % 4;
	struct state s;

	if (!paused)
		device_pause(&f->d->pci.dev);
	paused = false;
	state_init_save(&s);
	if (device_state(&f->d->pci.dev, &s) < 0 || state_finish(&s, NULL) < 0) {
		state_fini(&s);
		device_resume(&f->d->pci.dev);
		return;
	}
	for (unsigned i = 0; i < damage; i++) {
		size_t at = in16(in) % s.out.len, size = (size_t)1 << in8(in) % 4;
		uint64_t v = in_edge(in);

		memcpy(s.out.data + at, &v, MIN(size, s.out.len - at));
		tampered = true;
	}
	state_forge(s.out.data, s.out.len);
	drop_device();
	make_device();
	device_pause(&f->d->pci.dev);
	if (load(s.out.data, s.out.len) == 0) {
		device_resume(&f->d->pci.dev);
	} else {
		ASSERT(damage);
		drop_device();
		make_device();
	}
	state_fini(&s);
}

static void operation(struct input *in)
{
	static char text[16384];
	uint8_t op = in8(in);

	switch (op & 15) {
	case 0 ... 3: add_request(in); break;
	case 4: add_any(in); break;
	case 5: fix_kick(f, op / 16 % f->n_queues); break;
	case 6 ... 7: turn(1 + op / 64); break;
	case 8 ... 9:
		quiet = false;
		if (kind->event)
			kind->event(in);
		quiet = true;
		break;
	case 10: take_used(); break;
	case 11: poke(in, false); break;
	case 12: poke(in, true); break;
	case 13: (op & 0x10) ? registers(in) : config_space(in); break;
	case 14:
		if (op & 0x10)
			queue_reset(in);
		else if (op & 0x20)
			move_on(in);
		else
			pause_and_go();
		break;
	default:
		if (op & 0x80)
			negotiate(in);
		else if (op & 0x40)
			board_advance(f->b, in32(in));
		else
			virtio_stats(f->d, add_nothing, NULL),
				device_dump(&f->d->pci.dev, text, sizeof(text));
	}
}

static void leave(void)
{
	quiet = true;
	if (paused)
		device_resume(&f->d->pci.dev);
	paused = false;
	n_pokes = 0;
	/* Whatever it was given: it can be reset. */
	fix_map(f);
	fix_set(f, C_STATUS, 0, 1);
	settle();
	ASSERT(fix_get(f, C_STATUS, 1) == 0);
	drop_device();
	pci_root_destroy(f->root);
	loop_destroy(f->loop);
	gmem_destroy(f->mem);
	board_env_free(f->b);
	free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	fs_read_only = size % 2; /* the same for the same input */
	for (kind = kinds; strcmp(kind->name, FUZZ_KIND) != 0; kind++)
		;
	quiet = true;
	f = fix_new();
	make_device();
	negotiate(&in);
	for (unsigned i = 0; i < OPERATIONS && in.n; i++)
		operation(&in);
	turn(2);
	leave();
	return 0;
}

/* Traffic of a driver that behaves, then with something odd now and then. */
bool fuzz_seed(unsigned i, struct seed *s)
{
	static const uint8_t odd[] = {4, 11, 12, 13, 0x1d, 14, 0x1e, 0x2e, 0x2e, 0x8f, 0x4f, 0x0f};

	if (i >= 48)
		return false;
	seed_put(s, (uint8_t)(seed_rnd(s, 8) << 5 | (i & 7)));
	seed_put(s, 1);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned n = seed_rnd(s, 4); n; n--) {
			seed_put(s, 0);
			seed_put(s, (uint8_t)(16 | seed_rnd(s, 16)));
			seed_random(s, 4);
		}
		if (i >= 12 && seed_rnd(s, 4) == 0) {
			seed_put(s, odd[seed_rnd(s, ARRAY_SIZE(odd))]);
			seed_random(s, 1 + seed_rnd(s, 8));
		}
		seed_put(s, 6);
		seed_put(s, 8);
		seed_put(s, (uint8_t)seed_rnd(s, 256));
		seed_random(s, 3);
		seed_put(s, 6);
		seed_put(s, 10);
	}
	return true;
}
