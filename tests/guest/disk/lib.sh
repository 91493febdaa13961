# SPDX-License-Identifier: Apache-2.0
# lib.sh - what the disk tests share: the guest's initramfs and starting a machine. Sourced after scripts/common.sh, with `build`
# and a folder `work`.

. "$top/tests/lib.sh"

# File systems, in the order in which they need one another.
fs_modules=(lib/crc16 crypto/crc32c_generic fs/mbcache fs/jbd2/jbd2 fs/ext4/ext4)

# make_disk_initramfs: $work/initrd, the one of all tests and on top of it our init and the file systems.
make_disk_initramfs() {
	local list=$work/list m modules=${kernel%/*}/modules/kernel
	printf 'file /init 755 %s\n' "$top/tests/guest/disk/init" >"$list"
	: >"$work/order-fs"
	printf 'dir /lib 755\ndir /lib/modules 755\n' >>"$list"
	for m in "${fs_modules[@]}"; do
		[ -e "$modules/$m.ko" ] || continue
		printf 'file /lib/modules/%s.ko 644 %s\n' "${m##*/}" "$modules/$m.ko" >>"$list"
		printf 'any %s\n' "${m##*/}" >>"$work/order-fs"
	done
	printf 'file /lib/modules/order-fs 644 %s\n' "$work/order-fs" >>"$list"
	"$build_release/src/lodge-mkinitramfs" "$work/top" "$list"
	cat "$initrd" "$work/top" >"$work/initrd"
}

# machine DO CPUS OPTION...: runs in the background; its output in $work/out, its control socket $work/ctl. Sets machine_pid.
machine() {
	local do=$1 cpus=$2
	shift 2
	"$build/src/lodge" run --engine soft --kernel "$kernel" --initrd "$work/initrd" -m 256M -c "$cpus" --debug-exit \
		--control "$work/ctl" "$@" --cmdline "$cmdline_base lodge.do=$do $guest_words" </dev/null >"$work/out" 2>"$work/err" &
	machine_pid=$!
}

ctl() { "$build/src/lodge" ctl "$work/ctl" "$@"; }

# machine_end WANTED: waits for it; shows what it said and fails unless it ended with this status.
machine_end() {
	local status=0
	wait "$machine_pid" || status=$?
	tr -d '\r' <"$work/out" | grep '^lodge-disk' || true
	[ "$status" = "$1" ] || {
		echo "exit status $status, not $1"
		tail -n 20 "$work/out" "$work/err"
		exit 1
	}
}
