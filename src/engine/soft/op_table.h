/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_table.h - the C function of every operation: integer ones (op_*.c), system ones (sys_*.c).
 *
 * Each runs one decoded instruction of its operation on the vCPU: it may raise (soft_raise() does not
 * return), commits registers only after its last access that can fault, and leaves v->next_rip alone
 * unless it transfers control or stops in the middle of a REP (next_rip = rip). On entry next_rip is the
 * address of the following instruction. Privilege, LOCK and operand checks that the decoder cannot make
 * are the operation's own.
 */
#ifndef LODGE_ENGINE_SOFT_OP_TABLE_H
#define LODGE_ENGINE_SOFT_OP_TABLE_H

#include "engine/soft/soft.h"

/* Integer: op_*.c. */
void soft_op_add(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_or(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_adc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sbb(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_and(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sub(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_xor(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmp(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_test(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_inc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_dec(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_neg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_not(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_mul(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_imul1(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_imul(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_div(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_idiv(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_rol(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_ror(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_rcl(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_rcr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_shl(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_shr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sar(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_shld(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_shrd(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_bt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_bts(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_btr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_btc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_bsf(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_bsr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_tzcnt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_lzcnt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_popcnt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_crc32(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_mov(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_movzx(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_movsx(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_movsxd(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_movnti(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_movbe(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_lea(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_xchg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_xadd(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmpxchg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmpxchg8b(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmpxchg16b(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_bswap(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmov(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_setcc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cbw(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cwd(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_lahf(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sahf(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_salc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_clc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_stc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cld(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_std(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_xlat(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_aaa(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_aas(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_daa(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_das(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_aam(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_aad(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_bound(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_push(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_pop(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_pusha(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_popa(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_enter(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_leave(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_jmp(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_jcc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_call(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_ret(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_loop(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_loope(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_loopne(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_jcxz(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_jmp_ind(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_call_ind(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_movs(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_stos(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_lods(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_cmps(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_scas(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_nop(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_pause(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_prefetch(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_lfence(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sfence(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_mfence(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_clflush(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_rdrand(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_rdseed(struct soft_vcpu *v, const struct x86_insn *in);

/* Vectors with masks: op_masked.c. */
void soft_op_vmaskmov(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_vgather(struct soft_vcpu *v, const struct x86_insn *in);

/* System: sys_*.c. */
void soft_op_sys_ud(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_ins(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_outs(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_in(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_out(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mov_from_sreg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mov_to_sreg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_push_sreg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_pop_sreg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_les(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lds(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lss(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lfs(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lgs(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_jmp_far(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_call_far(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_ret_far(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_int(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_int3(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_into(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_int1(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_iret(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_syscall(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sysret(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sysenter(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sysexit(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_swapgs(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mov_from_cr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mov_to_cr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mov_from_dr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mov_to_dr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lmsw(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_smsw(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_clts(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lgdt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lidt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sgdt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sidt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lldt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_ltr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sldt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_str(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lar(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_lsl(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_verr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_verw(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_arpl(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_invlpg(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_invpcid(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_invd(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_wbinvd(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdtsc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdtscp(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdpmc(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdpid(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdmsr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_wrmsr(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_cpuid(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_hlt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_cli(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_sti(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_clac(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_stac(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_pushf(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_popf(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdfsbase(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rdgsbase(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_wrfsbase(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_wrgsbase(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_monitor(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_mwait(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_xgetbv(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_xsetbv(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_vmcall(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_vmmcall(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_rsm(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_xsave(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_xsaveopt(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_xsavec(struct soft_vcpu *v, const struct x86_insn *in);
void soft_op_sys_xrstor(struct soft_vcpu *v, const struct x86_insn *in);

#endif
