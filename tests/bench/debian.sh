# SPDX-License-Identifier: Apache-2.0
# debian.sh - a whole Debian on a disk for the figures of disks. Sourced by them.

# Sets debian, the folder with disk.raw, vmlinuz and initrd.img. Made once, in about two minutes.
need_debian() {
	local key
	need mmdebstrap e2fsprogs
	key=$(cat "$top/tests/guest/disk/debian-disk" "$top/tests/guest/disk/fio" | sha256sum)
	debian=$cache/debian-12-${key:0:16}
	[ ! -e "$debian/disk.raw" ] || return 0
	phase "Debian disk"
	logged debian-disk "$top/tests/guest/disk/debian-disk" "$debian"
	phase_done
}

# debian_side NAME WORDS [DISK]: sets `side`: boots it, its own disk thrown away afterwards, with DISK as the second one.
debian_side() {
	local append="console=ttyS0 root=/dev/vda1 quiet panic=-1 audit=0 $2" kernel_was=$kernel initrd_was=$initrd memory=$bench_memory_mib
	kernel=$debian/vmlinuz initrd=$debian/initrd.img bench_memory_mib=512
	side "$1" 1 ""
	kernel=$kernel_was initrd=$initrd_was bench_memory_mib=$memory
	# The command line is the last word on both sides.
	unset "side[-1]"
	side+=("$append")
	if [ "$1" = lodge ]; then
		side+=(--disk "$debian/disk.raw,snapshot=on")
		[ -z "${3:-}" ] || side+=(--disk "$3")
	else
		side+=(-drive "if=none,id=a,file=$debian/disk.raw,format=raw,snapshot=on" -device virtio-blk-pci,drive=a)
		[ -z "${3:-}" ] || side+=(-drive "if=none,id=b,file=$3,format=raw" -device virtio-blk-pci,drive=b)
	fi
}
