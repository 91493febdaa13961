/* SPDX-License-Identifier: Apache-2.0 */
/*
 * begin.c - a VM of the host's kernel, made on a thread of its own.
 *
 * Theory of operation. KVM_CREATE_VM is a few microseconds of work and ten milliseconds and more of waiting: the kernel starts a thread
 * for the VM, which joins its maker's control groups, and that waits until every processor of the host has taken notice. So
 * the engine's begin() starts a thread that does nothing but this call, while its caller gets memory and reads the
 * kernel, and open() waits for the end of that thread. Where there can be no thread open() makes the call itself.
 *
 * Nothing is shared while the thread runs: what it made, or its error, is looked at after it has been joined.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"

/* seccomp vm: ioctl arg1=KVM_GET_API_VERSION/KVM_CREATE_VM/KVM_GET_VCPU_MMAP_SIZE */

#define API_VERSION 12

struct engine_begun {
	pthread_t thread;
	int kvm_fd;
	struct kvm_made made;
	int r;
	struct err err; /* if r < 0 */
};

static int make(struct kvm_made *m, int kvm_fd, struct err *e)
{
	int r;

	*m = (struct kvm_made){.kvm = kvm_fd, .vm = -1};
	if (m->kvm < 0) {
		m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		m->own_kvm = true;
		if (m->kvm < 0)
			return err_errno(e, errno, "cannot open /dev/kvm");
	}
	if (ioctl(m->kvm, KVM_GET_API_VERSION, 0) != API_VERSION)
		return err_set(e, ENODEV, "/dev/kvm is not a KVM of API version %d", API_VERSION);
	r = kvm_ioctl(m->kvm, KVM_CREATE_VM, NULL);
	if (r < 0)
		return err_errno(e, -r, "KVM cannot make a virtual machine");
	m->vm = r;
	/* seccomp vm: fcntl arg1=F_SETFD */
	(void)fcntl(m->vm, F_SETFD, FD_CLOEXEC);
	r = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < (int)sizeof(struct kvm_run))
		return err_set(e, ENODEV, "KVM does not tell the size of a vCPU's shared page");
	m->run_size = (size_t)r;
	return 0;
}

static void *thread_main(void *arg)
{
	struct engine_begun *b = arg;

	b->r = make(&b->made, b->kvm_fd, &b->err);
	return NULL;
}

struct engine_begun *kvm_begin(int kvm_fd)
{
	struct engine_begun *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->kvm_fd = kvm_fd;
	if (pthread_create(&b->thread, NULL, thread_main, b)) {
		free(b);
		return NULL;
	}
	return b;
}

int kvm_made_get(struct engine_begun *b, int kvm_fd, struct kvm_made *m, struct err *e)
{
	int r;

	if (!b)
		return make(m, kvm_fd, e);
	pthread_join(b->thread, NULL);
	*m = b->made;
	r = b->r;
	if (r < 0 && e)
		*e = b->err;
	free(b);
	return r;
}

void kvm_made_close(struct kvm_made *m)
{
	base_close_fd(&m->vm);
	if (m->own_kvm)
		base_close_fd(&m->kvm);
}

void kvm_abandon(struct engine_begun *b)
{
	struct kvm_made m;

	if (!b)
		return;
	(void)kvm_made_get(b, -1, &m, NULL);
	kvm_made_close(&m);
}
