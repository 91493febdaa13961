/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_msix.c - the MSI-X capability (PCI 3.0 §6.8.2): table and pending bits in a BAR, message control.
 *
 * A vector that is raised while it or the function is masked sets its pending bit; unmasking sends it. The lock makes
 * this safe against a queue's thread that raises while the guest masks. The message itself goes to the interrupt
 * controllers only: an address that is not theirs is dropped, never written to memory.
 */
#include "board/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/state.h"

#define ENTRY_SIZE 16u
#define CONTROL_MASKED 1u
#define MC_ENABLE 0x8000u
#define MC_MASK 0x4000u

struct message {
	uint64_t addr;
	uint32_t data;
};

static unsigned pba_size(const struct pci_msix *x)
{
	return (x->n + 63) / 64 * 8;
}

/* Takes pending vector n if it may go now. Lock held. */
static bool take_locked(struct pci_msix *x, unsigned n, struct message *m)
{
	if (!x->enabled || x->masked || (x->entry[n].control & CONTROL_MASKED))
		return false;
	x->pending[n / 64] &= ~BIT(n % 64);
	m->addr = x->entry[n].addr;
	m->data = x->entry[n].data;
	return true;
}

void pci_msix_notify(struct pci_device *d, unsigned n)
{
	struct pci_msix *x = &d->msix;
	struct message m = {0};
	bool go = false;

	if (n >= x->n)
		return;
	pthread_mutex_lock(&x->lock);
	if (x->enabled) {
		go = take_locked(x, n, &m);
		if (!go)
			x->pending[n / 64] |= BIT(n % 64);
	}
	pthread_mutex_unlock(&x->lock);
	if (go)
		irq_msi(d->env->irq, m.addr, m.data);
}

/* Sends vector n if it is pending and no longer masked. */
static void flush(struct pci_device *d, unsigned n)
{
	struct pci_msix *x = &d->msix;
	struct message m = {0};
	bool go;

	pthread_mutex_lock(&x->lock);
	go = (x->pending[n / 64] & BIT(n % 64)) && take_locked(x, n, &m);
	pthread_mutex_unlock(&x->lock);
	if (go)
		irq_msi(d->env->irq, m.addr, m.data);
}

bool pci_msix_enabled(const struct pci_device *d)
{
	return __atomic_load_n(&d->msix.enabled, __ATOMIC_RELAXED);
}

void pci_msix_control(struct pci_device *d)
{
	struct pci_msix *x = &d->msix;
	uint16_t v = pci_get16(d, x->cap + 2u);
	bool changed;

	pthread_mutex_lock(&x->lock);
	changed = x->enabled != !!(v & MC_ENABLE) || x->masked != !!(v & MC_MASK);
	__atomic_store_n(&x->enabled, !!(v & MC_ENABLE), __ATOMIC_RELAXED);
	x->masked = v & MC_MASK;
	pthread_mutex_unlock(&x->lock);
	if (!changed)
		return;
	for (unsigned i = 0; i < x->n; i++)
		flush(d, i);
	if (d->msix_changed)
		d->msix_changed(d);
}

/* A 32-bit word of the table; `w` counts words. */
static uint32_t table_get(const struct pci_msix *x, unsigned w)
{
	const struct pci_msix_entry *en = &x->entry[w / 4];

	switch (w & 3) {
	case 0: return (uint32_t)en->addr;
	case 1: return (uint32_t)(en->addr >> 32);
	case 2: return en->data;
	}
	return en->control;
}

static void table_put(struct pci_msix *x, unsigned w, uint32_t v)
{
	struct pci_msix_entry *en = &x->entry[w / 4];

	switch (w & 3) {
	case 0: en->addr = (en->addr & ~UINT64_C(0xffffffff)) | (v & ~3u); break;
	case 1: en->addr = (en->addr & 0xffffffff) | (uint64_t)v << 32; break;
	case 2: en->data = v; break;
	case 3: en->control = v & CONTROL_MASKED; break;
	}
}

enum place { OUTSIDE, TABLE, PBA };

static enum place locate(const struct pci_msix *x, unsigned bar, uint64_t off)
{
	if (x->n == 0 || bar != x->bar)
		return OUTSIDE;
	if (off >= x->table && off < x->table + (uint64_t)x->n * ENTRY_SIZE)
		return TABLE;
	if (off >= x->pba && off < (uint64_t)x->pba + pba_size(x))
		return PBA;
	return OUTSIDE;
}

bool pci_msix_read(struct pci_device *d, unsigned bar, uint64_t off, unsigned size, uint64_t *value)
{
	struct pci_msix *x = &d->msix;
	enum place place = locate(x, bar, off);
	unsigned rel;

	if (place == OUTSIDE)
		return false;
	*value = UINT64_MAX; /* neither 4 nor 8 bytes, or not aligned: undefined */
	if (size < 4 || (off & (size - 1)))
		return true;
	pthread_mutex_lock(&x->lock);
	if (place == TABLE) {
		rel = (unsigned)(off - x->table);
		*value = table_get(x, rel / 4);
		if (size == 8)
			*value |= (uint64_t)table_get(x, rel / 4 + 1) << 32;
	} else {
		rel = (unsigned)(off - x->pba);
		*value = x->pending[rel / 8] >> 8 * (rel & 7);
	}
	pthread_mutex_unlock(&x->lock);
	return true;
}

bool pci_msix_write(struct pci_device *d, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_msix *x = &d->msix;
	enum place place = locate(x, bar, off);
	unsigned rel;

	if (place == OUTSIDE)
		return false;
	if (place == PBA || size < 4 || (off & (size - 1)))
		return true;
	rel = (unsigned)(off - x->table);
	pthread_mutex_lock(&x->lock);
	table_put(x, rel / 4, (uint32_t)value);
	if (size == 8)
		table_put(x, rel / 4 + 1, (uint32_t)(value >> 32));
	pthread_mutex_unlock(&x->lock);
	flush(d, rel / ENTRY_SIZE);
	return true;
}

int pci_msix_init(struct pci_device *d, unsigned n, unsigned bar, uint32_t table, uint32_t pba,
		  struct err *e)
{
	struct pci_msix *x = &d->msix;
	uint64_t table_end = (uint64_t)table + (uint64_t)n * ENTRY_SIZE,
		 pba_end = (uint64_t)pba + (n + 63) / 64 * 8;
	int cap;

	if (n < 1 || n > PCI_MSIX_MAX || bar >= PCI_BARS ||
	    (d->bar[bar].type != PCI_BAR_MEM32 && d->bar[bar].type != PCI_BAR_MEM64) ||
	    ((table | pba) & 7) || table_end > d->bar[bar].size || pba_end > d->bar[bar].size ||
	    (table < pba_end && pba < table_end) || x->n)
		return err_set(e, EINVAL, "%s: %u MSI-X vectors do not fit BAR %u", d->dev.id, n,
			       bar);
	cap = pci_cap_add(d, PCI_CAP_MSIX, 12, e);
	if (cap < 0)
		return cap;
	x->entry = calloc(n, sizeof(*x->entry));
	x->pending = calloc((n + 63) / 64, sizeof(*x->pending));
	if (!x->entry || !x->pending)
		return err_set(e, ENOMEM, "%s: no memory for MSI-X",
			       d->dev.id); /* pci_fini() frees */
	x->n = n;
	x->bar = bar;
	x->table = table;
	x->pba = pba;
	x->cap = (uint16_t)cap;
	pci_set16(d, x->cap + 2u, (uint16_t)(n - 1));
	pci_wmask16(d, x->cap + 2u, MC_ENABLE | MC_MASK);
	pci_set32(d, x->cap + 4u, table | bar);
	pci_set32(d, x->cap + 8u, pba | bar);
	pci_msix_reset(d);
	return 0;
}

void pci_msix_reset(struct pci_device *d)
{
	struct pci_msix *x = &d->msix;

	if (x->n == 0)
		return;
	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < x->n; i++)
		x->entry[i] = (struct pci_msix_entry){.control = CONTROL_MASKED};
	memset(x->pending, 0, (x->n + 63) / 64 * sizeof(*x->pending));
	__atomic_store_n(&x->enabled, false, __ATOMIC_RELAXED);
	x->masked = false;
	pthread_mutex_unlock(&x->lock);
}

void pci_msix_state(struct pci_device *d, struct state *s)
{
	struct pci_msix *x = &d->msix;

	state_same(s, x->n, "the number of MSI-X vectors");
	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < x->n; i++) {
		state_u64(s, &x->entry[i].addr);
		state_u32(s, &x->entry[i].data);
		state_u32(s, &x->entry[i].control);
	}
	state_u64s(s, x->pending, (x->n + 63) / 64);
	pthread_mutex_unlock(&x->lock);
}

void pci_msix_loaded(struct pci_device *d)
{
	struct pci_msix *x = &d->msix;

	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < x->n; i++) {
		x->entry[i].addr &= ~UINT64_C(3);
		x->entry[i].control &= CONTROL_MASKED;
	}
	if (x->n % 64)
		x->pending[x->n / 64] &= BIT(x->n % 64) - 1;
	pthread_mutex_unlock(&x->lock);
	pci_msix_control(d);
}

void pci_msix_fini(struct pci_device *d)
{
	free(d->msix.entry);
	free(d->msix.pending);
	d->msix.entry = NULL;
	d->msix.pending = NULL;
	d->msix.n = 0;
}
