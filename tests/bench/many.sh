# SPDX-License-Identifier: Apache-2.0
# many.sh - a lodged of the bench's own, and many idle VMs in it. Sourced by the figures that need them.

# many_begin: starts it, with folders of its own; sets many_lodged to its pid.
many_begin() {
	export LODGE_RUN=$bench_dir/run LODGE_STATE=$bench_dir/state LODGE_CONFIG=$bench_dir/etc
	mkdir -p "$LODGE_RUN" "$LODGE_CONFIG"
	printf 'memory-percent = 200\ncpu-percent = 10000\nstarts = 2\n' >"$LODGE_CONFIG/lodged.conf"
	many_socket=$LODGE_RUN/lodged.socket
	"$build_release/src/lodged" 2>>"$bench_dir/lodged.log" &
	many_lodged=$! bench_pid=$!
	local i
	for ((i = 0; i < 200; i++)); do
		curl -s --max-time 5 --unix-socket "$many_socket" http://lodged/1.0 >/dev/null && return 0
		sleep 0.05
	done
	say "bench: lodged does not answer"
	head -n 5 "$bench_dir/lodged.log" >&2
	return 1
}

# many_end: removes the VMs and ends it.
many_end() {
	LODGE_DIRECT=1 "$build_release/src/lodge" rm -f --all >/dev/null 2>&1 || true
	kill -TERM "$many_lodged" 2>/dev/null || true
	wait "$many_lodged" 2>/dev/null || true
	bench_pid=
	rm -rf "$LODGE_RUN" "$LODGE_STATE" "$LODGE_CONFIG"
	unset LODGE_RUN LODGE_STATE LODGE_CONFIG
}

# many_create NAME MIB MODE
many_create() {
	"$build_release/src/lodge" create "$1" -- --engine "${LODGE_ENGINE:-soft}" --kernel "$kernel" --initrd "$initrd" \
		--memory "$2M" --cmdline "$cmdline_base lodge.mode=$3" >/dev/null
}

# many_started NAME TEXT: until its guest has said that, at most a minute.
many_started() {
	local i
	for ((i = 0; i < 600; i++)); do
		! "$build_release/src/lodge" logs "$1" 2>/dev/null | grep -q "$2" || return 0
		sleep 0.1
	done
	say "bench: $1 did not start"
	return 1
}

# many_keeper NAME, many_vm NAME: process ids.
many_keeper() { jq -r .keeper "$LODGE_RUN/vms/$1/info.json"; }
many_vm() {
	local p
	# lodge-vm is the keeper's child, or the child of a child, which holds its PID namespace.
	for p in $(awk '{print $0}' "/proc/$(many_keeper "$1")/task"/*/children); do
		! grep -q '^lodge-vm' "/proc/$p/comm" || echo "$p"
	done | tail -n 1
}

# cpu_ns PID...: processor time of all their threads.
cpu_ns() {
	local p
	for p in "$@"; do cat "/proc/$p/task"/*/schedstat 2>/dev/null || true; done | awk '{n += $1} END {printf "%.0f\n", n}'
}
