/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kvm_end.c - what ends a guest of the KVM engine, the sentence that says so, and what is left of the vCPU's state when it is set anew.
 * With a KVM that runs stock guests; elsewhere, all is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "kvm_fixture.h"

static int setup(void **state)
{
	return setup_n(state, 1, MEMORY, KVM_DIRTY_AUTO, KVM_PIT_BOARD);
}

/* (A KVM that emulates guest code has its own ways here.) */
static struct fixture *stock(void **state)
{
	struct fixture *f = fixture(state);
	struct kvm_probe p;

	kvm_probe(&p);
	if (p.result != KVM_PROBE_USABLE)
		skip();
	return f;
}

static void ends_with(struct fixture *f, const char *sentence)
{
	struct engine_exit exit = {.why = ""};

	engine_kvm.run(f->v[0], &exit);
	print_message("%s\n", exit.why);
	assert_int_equal(exit.reason, ENGINE_EXIT_ERROR);
	assert_non_null(strstr(exit.why, sentence));
	assert_non_null(strstr(exit.why, "the guest was"));
}

static const uint8_t out_and_spin[] = {0xb0, 0x01, 0xe6, PORT, 0xeb, 0xfe};

/* A page of guest memory that the host does not give; and that the vCPU goes on when it does. */
static void test_no_page(void **state)
{
	struct fixture *f = stock(state);

	f->kick_on_out = true;
	start(f, out_and_spin, sizeof(out_and_spin));
	assert_int_equal(mprotect(f->mem->region[0].hva, MEMORY, PROT_NONE), 0);
	ends_with(f, "the host could not give");
	assert_int_equal(mprotect(f->mem->region[0].hva, MEMORY, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	assert_int_equal(f->n_out, 1);
}

/* System management mode has no firmware, so no way out but a reset. */
static void test_smi(void **state)
{
	static const uint8_t smi_to_self[] = {
		0x66, 0xb8, 0x00, 0x42, 0x04, 0x00,	  /* mov eax, 44200h */
		0x67, 0x66, 0xa3, 0x00, 0x03, 0xe0, 0xfe, /* mov [fee00300h], eax */
		0xeb, 0xfe,
	};
	struct fixture *f = stock(state);

	f->kick_on_out = true;
	start_unreal(f, smi_to_self, sizeof(smi_to_self));
	assert_int_equal(engine_kvm.irqchip->virtual_wire(f->en), 0);
	ends_with(f, "in system management mode");
	start(f, out_and_spin, sizeof(out_and_spin));
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	assert_int_equal(f->n_out, 1);
}

/* What a guest wrote into an MSR that no state has does not outlive a reset. */
static void test_other_msrs(void **state)
{
	static const uint8_t switch_on[] = {
		0x66, 0xb9, 0x40, 0x01, 0x00, 0x00, /* mov ecx, 140h */
		0x66, 0xb8, 0x01, 0x00, 0x00, 0x00, /* mov eax, 1 */
		0x66, 0x31, 0xd2,		    /* xor edx, edx */
		0x0f, 0x30,			    /* wrmsr */
		0x0f, 0x32,			    /* rdmsr */
		0xe6, PORT,			    /* out PORT, al */
		0xeb, 0xfe,
	};
	static const uint8_t read[] = {
		0x66, 0xb9, 0x40, 0x01, 0x00, 0x00, 0x0f, 0x32, 0xe6, PORT, 0xeb, 0xfe,
	};
	struct fixture *f = stock(state);

	f->kick_on_out = true;
	start(f, switch_on, sizeof(switch_on));
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	assert_int_equal(f->out[0], 1);
	start(f, read, sizeof(read));
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	assert_int_equal(f->out[1], 0);
}

/*
 * An NMI that is on its way is pending still, and no handler runs that would end its mask. (What cannot be delivered, as there is no
 * RAM for it, KVM keeps for the next entry, and emulates an instruction meanwhile.)
 */
static void test_nmi_in_flight(void **state)
{
	struct fixture *f = stock(state);
	struct x86_state s;

	f->kick_on_out = true;
	start(f, out_and_spin, sizeof(out_and_spin));
	engine_kvm.get_state(f->v[0], X86_STATE_SYS, &s);
	s.idt.base = 0xd0000000;
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_SYS, &s), 0);
	engine_kvm.nmi(f->v[0]);
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	engine_kvm.get_state(f->v[0], X86_STATE_EVENTS, &s);
	assert_true(s.ev.nmi_pending);
	assert_false(s.ev.nmi_masked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_smi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_msrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nmi_in_flight, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
