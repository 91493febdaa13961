/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_state.c - files of saved state, and sections, of any bytes: the loader's own part. (Sections of devices, damaged but with
 * right checksums, are fuzz_board's and fuzz_virtio's.) The first byte chooses: a file whose head and sections have their
 * checksums made right; a file as it comes; sections as they come.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "../unit/state_forge.h"

#include "state/state_file.h"
#include "state/state_x86.h"

#define HEAD 4096u

/* Reads what there is by every getter; the name of a section says which object it is. */
static void read_sections(const uint8_t *data, size_t len)
{
	static struct x86_state cpu;
	struct irqchip_lapic lapic;
	struct irqchip_ioapic io;
	struct irqchip_pic pic;
	struct err e = {0};
	struct state s;
	char *config = NULL, text[16];
	uint32_t n = 0;
	uint64_t big = 0;
	bool yes = false;

	if (state_init_load(&s, data, len, &e) < 0) {
		ASSERT(e.msg[0]);
		return;
	}
	if (state_has(&s, "config", NULL) && state_file_config_section(&s, &config) == 0)
		ASSERT(strlen(config) <= STATE_FILE_CONFIG_MAX);
	free(config);
	if (state_has(&s, "vcpu", "0")) {
		state_begin(&s, "vcpu", "0", 2);
		state_x86(&s, &cpu, &big);
		state_avx512(&s, &cpu.avx512);
		if (state_end(&s) == 0 && state_x86_check(&cpu, 0, &e) < 0)
			ASSERT(e.msg[0]);
	}
	if (state_has(&s, "lapic", "0")) {
		state_begin(&s, "lapic", "0", 1);
		state_lapic(&s, &lapic);
		if (state_end(&s) == 0 && state_lapic_check(&lapic, 0, 6, &e) < 0)
			ASSERT(e.msg[0]);
	}
	if (state_has(&s, "pic", NULL)) {
		state_begin(&s, "pic", NULL, 1);
		state_pic(&s, &pic);
		if (state_end(&s) == 0 && state_pic_check(&pic, &e) < 0)
			ASSERT(e.msg[0]);
	}
	if (state_has(&s, "ioapic", NULL)) {
		state_begin(&s, "ioapic", NULL, 1);
		state_ioapic(&s, &io);
		if (state_end(&s) == 0 && state_ioapic_check(&io, &e) < 0)
			ASSERT(e.msg[0]);
	}
	if (state_has(&s, "any", NULL)) {
		size_t size = 0;

		state_begin(&s, "any", NULL, 3);
		state_u32_max(&s, &n, 77);
		ASSERT(n <= 77);
		state_bool(&s, &yes);
		ASSERT(state_choice(&s, 0, 5) < 5);
		state_text(&s, text, sizeof(text));
		ASSERT(memchr(text, 0, sizeof(text)));
		(void)state_blob(&s, NULL, &size, 100);
		ASSERT(size <= 100);
		state_u64_max(&s, &big, 1);
		state_end(&s);
	}
	if (state_finish(&s, &e) < 0)
		ASSERT(e.msg[0]);
	state_fini(&s);
}

/* Head and section checksums of a file image, as somebody makes them who knows how. */
static void forge_file(uint8_t *file, size_t len)
{
	uint32_t crc;
	uint64_t n;

	if (len < HEAD)
		return;
	memcpy(file, "lodge vm state\r\n", 16);
	n = MIN(buf_le64(file + 32), len - HEAD);
	state_forge(file + HEAD, n);
	memset(file + 20, 0, 4);
	/* Version 1 has an area less. */
	crc = (uint32_t)crc32_z(0, file, 40 + 16 * (STATE_AREAS - (buf_le32(file + 16) == 1)));
	memcpy(file + 20, &crc, 4);
}

static void read_file(const uint8_t *data, size_t len)
{
	static int fd = -1;
	struct state_file file = {0};
	struct err e = {0};

	if (fd < 0)
		fd = memfd_create("state", MFD_CLOEXEC);
	ASSERT(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, len, 0) == (ssize_t)len);
	if (state_file_open(&file, fd, &e) < 0) {
		ASSERT(e.msg[0]);
		return;
	}
	free(state_file_config(&file, &e));
	for (unsigned i = 0; i < STATE_AREAS; i++) {
		int area;

		if (!file.area[i].size)
			continue;
		ASSERT(file.area[i].size <= len);
		area = state_file_extract(&file, i, "area", &e);
		if (area >= 0)
			close(area);
	}
	read_sections(file.sections, file.sections_len);
	state_file_fini(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[3 * HEAD];
	size_t n;

	if (size < 1)
		return 0;
	data++;
	size--;
	if (data[-1] % 3 == 2) {
		n = MIN(size, sizeof(file));
		memcpy(file, data, n);
		if (data[-1] & 0x80)
			state_forge(file, n);
		read_sections(file, n);
		return 0;
	}
	/* The head is the first 88 bytes of the input; sections follow at once. */
	memset(file, 0, sizeof(file));
	n = MIN(size, (size_t)88);
	memcpy(file, data, n);
	size -= n;
	memcpy(file + HEAD, data + n, MIN(size, sizeof(file) - HEAD));
	n = HEAD + MIN(size, sizeof(file) - HEAD);
	if (data[-1] % 3 == 0)
		forge_file(file, n);
	read_file(file, n);
	return 0;
}

static void seed_bytes(struct seed *s, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		seed_put(s, ((const uint8_t *)p)[i]);
}

/* A file, or sections, as the program itself writes them. */
bool fuzz_seed(unsigned i, struct seed *s)
{
	struct irqchip_lapic lapic = {0};
	struct irqchip_ioapic io = {0};
	struct irqchip_pic pic = {0};
	struct x86_state cpu = {0};
	char config[] = "{\"cpus\": 1}", *text = config, name[] = "word";
	struct state_file file = {0};
	uint32_t n = 7;
	uint64_t big = 1;
	bool yes = true;
	struct state st;
	uint8_t head[88];
	int fd;

	if (i >= 24)
		return false;
	state_init_save(&st);
	if (i & 1)
		(void)state_file_config_section(&st, &text);
	if (i & 2) {
		state_begin(&st, "lapic", "0", 1);
		state_lapic(&st, &lapic);
		state_end(&st);
		state_begin(&st, "pic", NULL, 1);
		state_pic(&st, &pic);
		state_end(&st);
		state_begin(&st, "ioapic", NULL, 1);
		state_ioapic(&st, &io);
		state_end(&st);
	}
	if (i & 4) {
		size_t len = 20;

		state_begin(&st, "any", NULL, 3);
		state_u32_max(&st, &n, 77);
		state_bool(&st, &yes);
		(void)state_choice(&st, 2, 5);
		state_text(&st, name, sizeof(name));
		(void)state_blob(&st, head, &len, 100);
		state_u64_max(&st, &big, 1);
		state_end(&st);
	}
	if (i % 8 == 0) {
		state_begin(&st, "vcpu", "0", 2);
		state_x86(&st, &cpu, &big);
		state_avx512(&st, &cpu.avx512);
		state_end(&st);
	}
	ASSERT(state_finish(&st, NULL) == 0);
	seed_put(s, (uint8_t)(i / 8 == 2 ? 0x80 | 2 : 0));
	if (i / 8 != 2) {
		fd = memfd_create("state", MFD_CLOEXEC);
		file.area[STATE_AREA_KERNEL].size = i & 1 ? 100 : 0;
		ASSERT(state_file_begin(&file, fd, &st.out, NULL) == 0);
		ASSERT(state_file_end(&file, NULL) == 0);
		ASSERT(pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head));
		seed_bytes(s, head, sizeof(head));
		close(fd);
	}
	seed_bytes(s, st.out.data, st.out.len);
	state_fini(&st);
	return true;
}
