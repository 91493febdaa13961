# SPDX-License-Identifier: Apache-2.0
# common.sh - what ./run, ./test and ./bench share: progress lines, packages, build, stock kernel, initramfs.
# Sourced, with `top` set to the source tree. Everything that it says goes to standard error.

# The programs that are needed come with Debian's packages. One of the same name that somebody has put before them in PATH (a python3 in a home
# folder, with pyenv or conda) may lack the modules that the packages bring, and other users may not be able to run it: Debian's folders come
# first, the others keep their order behind them. Exported in any case: without a PATH in its environment bash has one of its own, which
# nothing that it starts would see.
debian_first() { # PATH -> the same folders
	local folder first='' then=''
	while IFS= read -r -d : folder; do
		case $first$then: in *":$folder:"*) continue ;; esac
		case $folder in
		/usr/local | /usr/local/*) then+=:$folder ;;
		/usr/* | /bin | /sbin) first+=:$folder ;;
		?*) then+=:$folder ;;
		esac
	done <<<"$1:/usr/sbin:/usr/bin:/sbin:/bin:"
	echo "${first#:}$then"
}
PATH=$(debian_first "$PATH")
HOME=${HOME:-~} # without one in the environment: as the list of users has it
export PATH HOME

cache=${LODGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lodge}
build_release=$top/build/release

# What a build needs, and what the tests and comparisons need on top of it.
packages_build=(gcc libc6-dev meson ninja-build pkgconf zlib1g-dev liblzma-dev libzstd-dev
	liblz4-dev libbz2-dev libjansson-dev libslirp-dev libext2fs-dev liburing-dev libsqlite3-dev libssl-dev libyaml-dev)
packages_test=(procps libcmocka-dev libzydis-dev binutils clang-format-14 cppcheck e2fsprogs jq curl sqlite3 python3 openssl systemd
	libopenapi-client-perl)
packages_fuzz=(clang libclang-rt-dev)
packages_bench=(qemu-system-x86 iperf3 jq curl python3-minimal)
# The package with virtiofsd, for shared folders: of its own since Debian 13.
share_server_package() {
	if apt-cache show virtiofsd >/dev/null 2>&1; then echo virtiofsd; else echo qemu-system-common; fi
}

say() { printf '%s\n' "$*" >&2; }

die() {
	say "${0##*/}: $*"
	exit 1
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# phase TEXT: begins a line of progress; phase_done [NOTE] ends it with the time it took.
phase() {
	phase_start=$(now_ms)
	phase_text=$1
	[ ! -t 2 ] || printf '%-12s ...' "$1" >&2
}

phase_done() {
	local ms=$(($(now_ms) - phase_start))
	[ ! -t 2 ] || printf '\r\033[K' >&2
	printf '%-12s %s%d.%d s\n' "$phase_text" "${1:+$1, }" $((ms / 1000)) $((ms % 1000 / 100)) >&2
}

# logged NAME COMMAND...: runs it quietly; on failure shows the end of what it said and gives up.
logged() {
	local log=$top/build/$1.log
	shift
	mkdir -p "$top/build"
	if ! "$@" >"$log" 2>&1; then
		[ ! -t 2 ] || printf '\n' >&2
		tail -n 40 "$log" >&2
		die "failed: $* (whole output: $log)"
	fi
}

# Packages of the arguments that are not installed, one a line.
packages_missing() {
	local p state
	for p in "$@"; do
		state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null) || state=
		# Multi-arch packages print one state for each architecture.
		case $state in *ii*) ;; *) printf '%s\n' "$p" ;; esac
	done
}

# How apt-get is called: another one may be at work, and a mirror may be out of breath.
apt_options=(-q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5)

# need PACKAGE...: installs those that are missing, or says what to type.
need() {
	local missing sudo=()
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		[ -n "${need_warned:-}" ] || say "not a Debian system: make sure that the equivalents of these are installed: $*"
		need_warned=1
		return
	fi
	mapfile -t missing < <(packages_missing "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
			sudo=(sudo)
		else
			say "These packages are missing. Please have them installed, then start again:"
			say "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
			exit 1
		fi
	fi
	phase packages
	logged packages "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive get="apt-get ${apt_options[*]}" sh -c '
		ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || $get update
		$get install -y --no-install-recommends "$@" || { $get update && $get install -y --no-install-recommends "$@"; }
	' sh "${missing[@]}"
	phase_done "${#missing[@]} installed"
}

# build DIRECTORY NAME MESON-OPTION...: configures at the first time, then compiles what has changed.
build() {
	local dir=$1 name=$2
	shift 2
	phase "build"
	if [ ! -e "$dir/build.ninja" ]; then
		logged "setup-$name" meson setup "$dir" "$top" "$@"
	fi
	logged "build-$name" ninja -C "$dir"
	phase_done "$name"
}

build_for_run() { build "$build_release" release -Dtests=false; }

# one_at_a_time NAME COMMAND...: so that two scripts do not fill the same place of the cache at once.
one_at_a_time() {
	local lock=$cache/$1.lock
	shift
	mkdir -p "$cache"
	{
		flock 9
		"$@"
	} 9>"$lock"
}

# cache_trim PATTERN: of files like this the eight that were used last stay in the cache, and those of the last hour, which may be in use;
# and nothing of those who were interrupted more than a day ago.
cache_trim() {
	find "$cache" -maxdepth 1 -name "$1" -printf '%A@ %p\n' | sort -rn | tail -n +9 | cut -d ' ' -f 2- |
		xargs -r -d '\n' -I{} find {} -amin +60 -delete
	find "$cache" -maxdepth 1 -type d -name '*.??????' -mmin +1440 -exec rm -rf {} +
}

# download PACKAGE DIRECTORY: gets the .deb and unpacks it there; nothing is installed.
download() {
	local tmp
	tmp=$(mktemp -d "$cache/download.XXXXXX")
	logged download sh -c 'cd "$1" && shift && apt-get download "$@"' sh "$tmp" "${apt_options[@]}" -o APT::Sandbox::User="$(id -un)" "$1"
	mkdir -p "$2"
	logged unpack dpkg-deb -x "$tmp"/*.deb "$2"
	rm -rf "$tmp"
}

# Package lists are needed to find the kernel; a fresh container has none.
need_lists() {
	ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 && return
	if [ "$(id -u)" = 0 ]; then
		logged lists apt-get "${apt_options[@]}" update
	elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
		logged lists sudo apt-get "${apt_options[@]}" update
	else
		die "apt has no package lists yet. Please type: apt-get update (as root), then start again"
	fi
}

fetch_kernel_locked() {
	local package version tmp
	[ -z "$(kernel_cached)" ] || return 0
	need_lists
	package=$(LC_ALL=C apt-cache depends linux-image-cloud-amd64 |
		sed -n 's/^ *Depends: *\(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1)
	[ -n "$package" ] || die "apt does not know the package linux-image-cloud-amd64: are Debian's main archives in its sources?"
	version=${package#linux-image-}
	tmp=$(mktemp -d "$cache/kernel.XXXXXX")
	download "$package" "$tmp/all"
	mkdir "$tmp/new"
	mv "$tmp/all/boot/vmlinuz-$version" "$tmp/new/vmlinuz"
	mv "$tmp/all/boot/config-$version" "$tmp/new/config"
	if [ -d "$tmp/all/lib/modules/$version" ]; then
		mv "$tmp/all/lib/modules/$version" "$tmp/new/modules"
	else
		mv "$tmp/all/usr/lib/modules/$version" "$tmp/new/modules"
	fi
	mkdir -p "$cache/kernel"
	mv "$tmp/new" "$cache/kernel/$version"
	rm -rf "$tmp"
}

# The newest kernel of the cache.
kernel_cached() {
	ls -d "$cache"/kernel/*/vmlinuz 2>/dev/null | sort -V | tail -n 1
}

# Sets kernel (the bzImage), kernel_version, kernel_modules. LODGE_KERNEL_CACHE_ONLY=1: no network.
fetch_kernel() {
	phase kernel
	mkdir -p "$cache"
	one_at_a_time kernel fetch_kernel_locked
	kernel=$(kernel_cached)
	kernel_version=$(basename "$(dirname "$kernel")")
	kernel_modules=$(dirname "$kernel")/modules
	phase_done "$kernel_version"
}

fetch_busybox_locked() {
	local tmp
	[ ! -x "$cache/busybox" ] || return 0
	if [ -n "$(packages_missing busybox-static)" ]; then
		need_lists
		tmp=$(mktemp -d "$cache/busybox.XXXXXX")
		download busybox-static "$tmp"
		if [ -x "$tmp/bin/busybox" ]; then
			mv "$tmp/bin/busybox" "$cache/busybox"
		else
			mv "$tmp/usr/bin/busybox" "$cache/busybox"
		fi
		rm -rf "$tmp"
	else
		cp /bin/busybox "$cache/busybox.new"
		mv "$cache/busybox.new" "$cache/busybox"
	fi
}

# Virtio drivers in the order in which they need one another: PCI device id (`any` for all) and path under kernel/ in the
# modules folder. The guest loads those of the devices that it has.
virtio_modules=(
	any:drivers/virtio/virtio_ring
	any:drivers/virtio/virtio
	any:drivers/virtio/virtio_pci_legacy_dev
	any:drivers/virtio/virtio_pci_modern_dev
	any:drivers/virtio/virtio_pci
	0x1042:drivers/block/virtio_blk
	0x1041:net/core/failover
	0x1041:drivers/net/net_failover
	0x1041:drivers/net/virtio_net
	0x1043:drivers/char/virtio_console
	0x1044:drivers/char/hw_random/virtio-rng
	0x1045:drivers/virtio/virtio_balloon
	0x1053:net/vmw_vsock/vsock
	0x1053:net/vmw_vsock/vmw_vsock_virtio_transport_common
	0x1053:net/vmw_vsock/vmw_vsock_virtio_transport
)
# The power button's, and the panic device's.
button_modules=(drivers/input/evdev drivers/acpi/button)
panic_modules=(drivers/misc/pvpanic/pvpanic drivers/misc/pvpanic/pvpanic-mmio)

# The list for lodge-mkinitramfs.
initramfs_list() {
	local order=$1 guest=$top/tests/guest/linux m entry
	printf 'dir /%s 755\n' bin dev etc lib lib/modules proc sys tmp root mnt
	printf 'char /dev/console 600 5 1\nchar /dev/null 666 1 3\nchar /dev/ttyS0 600 4 64\n'
	printf 'file /init 755 %s\n' "$guest/init"
	printf 'file /bin/busybox 755 %s\nlink /bin/sh busybox\n' "$cache/busybox"
	printf 'file /bin/lodge-guest 755 %s\n' "$build_release/tests/guest/linux/lodge-guest"
	printf 'file /bin/lodge-agent 755 %s\n' "$build_release/src/guest/lodge-agent"
	printf 'file /bin/dhcp-lease 755 %s\n' "$guest/dhcp-lease"
	: >"$order"
	for entry in "${virtio_modules[@]}"; do
		m=${entry#*:}
		[ -e "$kernel_modules/kernel/$m.ko" ] || continue
		printf 'file /lib/modules/%s.ko 644 %s\n' "${m##*/}" "$kernel_modules/kernel/$m.ko"
		printf '%s %s\n' "${entry%%:*}" "${m##*/}" >>"$order"
	done
	for m in "${button_modules[@]}" "${panic_modules[@]}"; do
		[ -e "$kernel_modules/kernel/$m.ko" ] || continue
		printf 'file /lib/modules/%s.ko 644 %s\n' "${m##*/}" "$kernel_modules/kernel/$m.ko"
	done
	printf 'file /lib/modules/order 644 %s\n' "$order"
}

# Sets initrd. The file is named after its content's hash: the same content is never made again.
make_initramfs() {
	local list key
	phase initramfs
	one_at_a_time busybox fetch_busybox_locked
	list=$(mktemp -d "$cache/list.XXXXXX")
	initramfs_list "$list/order" >"$list/list"
	key=$({
		sed "s#$list##" "$list/list"
		sed -n 's/^file [^ ]* [^ ]* //p' "$list/list" | xargs -d '\n' sha256sum | sed "s#$list##"
	} | sha256sum)
	initrd=$cache/initramfs-${key:0:16}.cpio
	if [ -e "$initrd" ]; then
		touch -a "$initrd"
	else
		logged mkinitramfs "$build_release/src/lodge-mkinitramfs" "$initrd" "$list/list"
		cache_trim 'initramfs-*.cpio'
	fi
	rm -rf "$list"
	phase_done
}

# size_mib TEXT: 512M, 4G, 4GiB, plain bytes -> MiB, or nothing.
size_mib() {
	local n=${1%%[!0-9]*} unit=${1##*[0-9]}
	[ -n "$n" ] || return 0
	case $unit in
	[Kk]*) echo $((n / 1024)) ;;
	[Mm]*) echo "$n" ;;
	[Gg]*) echo $((n * 1024)) ;;
	'') echo $((n / 1048576)) ;;
	esac
}

# The kernel's command line for our guests, before what a script adds.
cmdline_base="console=ttyS0 quiet panic=-1 audit=0"

# What the guest writes to the test device when its self-check passed; the exit status of `lodge run` then.
guest_pass_value=42

# processes_with TEXT: ids of the processes whose command line has the text (pgrep is not on every machine).
processes_with() {
	local p
	for p in /proc/[0-9]*; do
		[ "${p#/proc/}" != $$ ] && [ "${p#/proc/}" != "$BASHPID" ] || continue
		{ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null | grep -qF -- "$1" && echo "${p#/proc/}"
	done
	return 0
}
