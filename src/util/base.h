/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - the small words every file uses: array sizes, container_of, alignment, scope cleanup,
 * and ASSERT for our own bugs (never for anything that a guest, an image or a client can reach).
 */
#ifndef LODGE_UTIL_BASE_H
#define LODGE_UTIL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* The struct around *ptr; `type` may be const-qualified. */
#define container_of(ptr, type, member) ((type *)((uintptr_t)(ptr)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define BIT(n) (UINT64_C(1) << (n))
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PRINTF_FORMAT(fmt, args) __attribute__((format(printf, fmt, args)))

/* Scope cleanup for locals: `_autofree char *s`, `_autoclose int fd = -1`. */
void base_free_ptr(void *pp);
void base_close_fd(int *fd);
#define _autofree __attribute__((cleanup(base_free_ptr)))
#define _autoclose __attribute__((cleanup(base_close_fd)))

/* Our own bug: prints the place and aborts. Always compiled in; the condition has no side effect. */
_Noreturn void base_assert_failed(const char *cond, const char *file, int line);
#define ASSERT(cond) (likely(cond) ? (void)0 : base_assert_failed(#cond, __FILE__, __LINE__))

#endif
