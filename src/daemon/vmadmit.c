/* SPDX-License-Identifier: Apache-2.0 */
/* vmadmit.c - whether the host can carry one VM more: what those that run were promised, by their definitions, against the settings. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/vms_int.h"
#include "util/opt.h"

#define MEMORY_DEFAULT (512 * MIB)

/* What the words of `lodge run` ask for. */
static void asked(const json_t *def, uint64_t *memory, uint64_t *cpus)
{
	static const struct {
		const char *option, *letter;
	} names[] = {{"--memory", "-m"}, {"--cpus", "-c"}};
	const json_t *words = json_object_get(def, "words");
	uint64_t *value[] = {memory, cpus};

	*memory = MEMORY_DEFAULT;
	*cpus = 1;
	for (size_t i = 0; i < json_array_size(words); i++) {
		const char *w = json_string_value(json_array_get(words, i));
		const char *next = json_string_value(json_array_get(words, i + 1));

		for (unsigned k = 0; k < ARRAY_SIZE(names); k++) {
			size_t len = strlen(names[k].option);
			const char *text = NULL;

			if (!strcmp(w, names[k].option) || !strcmp(w, names[k].letter))
				text = next;
			else if (!strncmp(w, names[k].option, len) && w[len] == '=')
				text = w + len + 1;
			else if (!strncmp(w, names[k].letter, 2))
				text = w + 2;
			if (text && k == 0)
				(void)opt_parse_size(text, value[k], NULL);
			else if (text)
				(void)opt_parse_uint(text, 1, CONFIG_CPUS_MAX, value[k], NULL);
		}
	}
}

int vms_admit(struct vm *vm, struct err *e)
{
	const struct settings *s = vm->vms->set;
	uint64_t memory, cpus, m, c, all_memory = 0, all_cpus = 0;
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t processors = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t max_memory = host / 100 * s->memory_percent;
	uint64_t max_cpus = processors * s->cpu_percent / 100;

	asked(vm->def, &memory, &cpus);
	for (const struct vm *o = vm->vms->all; o; o = o->next) {
		/* One that is being started counts like one that runs. */
		if (o == vm || (o->keeper < 0 && !(o->op && o->op->pid && o->op->starting)))
			continue;
		asked(o->def, &m, &c);
		all_memory += m;
		all_cpus += c;
	}
	if (all_memory + memory > max_memory)
		return err_set(
			e, ENOSPC,
			"\"%s\" wants %llu MiB of memory, and %llu MiB of %llu are taken: stop another VM, or raise memory-percent (%llu)",
			vm->name, (unsigned long long)(memory / MIB),
			(unsigned long long)(all_memory / MIB),
			(unsigned long long)(max_memory / MIB),
			(unsigned long long)s->memory_percent);
	if (all_cpus + cpus > max_cpus)
		return err_set(
			e, ENOSPC,
			"\"%s\" wants %llu CPUs, and %llu of %llu are taken: stop another VM, or raise cpu-percent (%llu)",
			vm->name, (unsigned long long)cpus, (unsigned long long)all_cpus,
			(unsigned long long)max_cpus, (unsigned long long)s->cpu_percent);
	return 0;
}
