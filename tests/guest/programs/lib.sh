# SPDX-License-Identifier: Apache-2.0
# lib.sh - programs of Debian 12 for guests: compilers, compressors, OpenSSL, a shell. Sourced after scripts/common.sh.
#
# The packages are unpacked into one tree, which a guest gets in its initramfs and which the host runs from too, by the
# tree's own ld.so: both sides run the same bytes, whatever else the host has installed. Nothing is installed, and nothing
# needs root.

programs_packages=(libc6 libc6-dev linux-libc-dev tcc gzip bzip2 libbz2-1.0 xz-utils liblzma5 zstd zlib1g liblz4-1 libgcc-s1
	libstdc++6 openssl libssl3 dash coreutils)
programs_dir=$top/tests/guest/programs

programs_make() {
	local p tmp
	[ ! -e "$programs/tree" ] || return 0
	need_lists
	mkdir -p "$programs"
	tmp=$(mktemp -d "$cache/programs.XXXXXX")
	for p in "${programs_packages[@]}"; do
		download "$p" "$tmp/tree"
	done
	# What neither runs nor is read.
	rm -rf "$tmp"/tree/{etc,sbin,var} "$tmp"/tree/usr/{sbin,share} \
		"$tmp"/tree/usr/lib/x86_64-linux-gnu/{gconv,libc.a,libm.a,libm-*.a,libmvec.a}
	"$cache/busybox" awk -v functions=4000 -f "$programs_dir/source.awk" >"$tmp/tree/source.c"
	mv "$tmp/tree" "$programs/tree"
	rm -rf "$tmp"
}

# Sets programs, the folder with the tree.
need_programs() {
	local key
	key=$({
		printf '%s\n' "${programs_packages[@]}"
		cat "$programs_dir/lib.sh" "$programs_dir/source.awk"
	} | sha256sum)
	programs=$cache/programs-${key:0:16}
	phase programs
	one_at_a_time programs programs_make
	phase_done
}

# programs_initrd FILE: an initramfs with the tree, whose /init does what lodge.work= says.
programs_initrd() {
	local list
	list=$(mktemp)
	{
		printf 'dir /%s 755\n' bin dev proc tmp debian
		printf 'char /dev/console 600 5 1\nchar /dev/null 666 1 3\n'
		printf 'file /init 755 %s\n' "$programs_dir/init"
		printf 'file /work 755 %s\n' "$programs_dir/work"
		printf 'file /bin/busybox 755 %s\nlink /bin/sh busybox\n' "$cache/busybox"
		printf 'file /bin/lodge-guest 755 %s\n' "$build_release/tests/guest/linux/lodge-guest"
		find "$programs/tree" -mindepth 1 -type d -printf 'dir /debian/%P 755\n'
		find "$programs/tree" -type f -printf 'file /debian/%P %m %p\n'
		find "$programs/tree" -type l -printf 'link /debian/%P %l\n'
	} >"$list"
	"$build_release/src/lodge-mkinitramfs" "$1" "$list"
	rm -f "$list"
}
