# SPDX-License-Identifier: Apache-2.0
# lib.sh - how ./bench runs both sides, and its arithmetic. Sourced after scripts/common.sh.

bench_rounds=${BENCH_ROUNDS:-} # empty: the figure's own number
bench_rounds_default=5
bench_memory_mib=128
marker_init="lodge-init: user space"
# The peers: QEMU's CPU models, the best of which counts.
qemu_cpus=(max,la57=off qemu64)
[ "${BENCH_QEMU:-1}" != 0 ] || qemu_cpus=()

bench_begin() {
	bench_dir=$(mktemp -d)
	bench_pid=
	trap bench_end EXIT
	trap 'exit 130' INT TERM
}

bench_end() {
	[ -z "$bench_pid" ] || kill -TERM "$bench_pid" 2>/dev/null || true
	rm -rf "$bench_dir"
}

# side NAME CPUS MODE-WORDS: sets `side` to the command line of one contender: lodge, or a CPU model of QEMU.
side() {
	local append="$cmdline_base $3"
	case $1 in
	lodge)
		side=("$build_release/src/lodge" run --engine "${LODGE_ENGINE:-soft}" --kernel "$kernel" --initrd "$initrd"
			--cpus "$2" --memory "${bench_memory_mib}M" --debug-exit --cmdline "$append")
		;;
	*)
		side=(qemu-system-x86_64 -accel tcg,thread=multi -M pc,memory-backend=ram -cpu "$1" -smp "$2"
			-m "$bench_memory_mib" -object "memory-backend-memfd,id=ram,share=on,size=${bench_memory_mib}M"
			-nodefaults -display none -no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1
			-kernel "$kernel" -initrd "$initrd" -append "$append")
		;;
	esac
}

# timed LIMIT OPTION... : runs `side` under lodge-timeit with its report in $bench_dir/report, quietly.
timed() {
	local limit=$1
	shift
	"$build_release/src/lodge-timeit" -q -t "$limit" -o "$bench_dir/report" "$@" -- "${side[@]}" \
		2>"$bench_dir/stderr" || true
}

# at TEXT: nanoseconds at which the marker was seen, or nothing.
at() { awk -F '\t' -v t="$1" '$1 == t {print $2}' "$bench_dir/report"; }

median() { sort -g | awk '{v[NR] = $1} END {if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# rounds FIGURE better-UP-or-DOWN UNIT FUNCTION: calls FUNCTION SIDE for each side in each round; it prints one number.
# Then the summary.
rounds() {
	local figure=$1 better=$2 unit=$3 fn=$4 n=${bench_rounds:-$bench_rounds_default} i s value
	rm -f "$bench_dir"/values.*
	for ((i = 1; i <= n; i++)); do
		for s in lodge "${qemu_cpus[@]}"; do
			value=$("$fn" "$s")
			if [ -z "$value" ]; then
				say "bench: $figure: no result from $s in round $i"
				[ ! -s "$bench_dir/stderr" ] || head -n 5 "$bench_dir/stderr" >&2
				continue
			fi
			echo "$value" >>"$bench_dir/values.$s"
			say "  $figure round $i: $s $value $unit"
		done
	done
	summary "$figure" "$better" "$unit"
}

# summary FIGURE better-UP-or-DOWN UNIT [PREFIX]: of the numbers in PREFIX.SIDE (default $bench_dir/values.SIDE), one a line.
# Prints the figure, the peer's, and the ratio.
summary() {
	local figure=$1 better=$2 unit=$3 values=${4:-$bench_dir/values} s value lodge best=
	for s in "${qemu_cpus[@]}"; do
		[ -e "$values.$s" ] || continue
		value=$(median <"$values.$s")
		best=$(awk -v a="${best:-$value}" -v b="$value" -v up="$better" 'BEGIN {print (up == "up") == (b > a) ? b : a}')
	done
	[ -e "$values.lodge" ] || {
		say "bench: $figure: no figure for Lodge"
		bench_failed=1
		return 0
	}
	lodge=$(median <"$values.lodge")
	printf '%s\t%s\t%s\n' "$figure" "$lodge" "$unit"
	[ -n "$best" ] || return 0
	printf '%s.qemu\t%s\t%s\n' "$figure" "$best" "$unit"
	printf '%s.vs-qemu\t%s\tx\n' "$figure" \
		"$(awk -v l="$lodge" -v q="$best" -v up="$better" 'BEGIN {printf "%.2f", up == "up" ? l / q : q / l}')"
}

# resident PID MIB: KiB that the process holds beyond the guest's memory: a file of that name, or a mapping of just that size.
# Other memfds (code that is mapped twice) count once, by their proportional size.
resident() {
	awk -v kib=$(($2 * 1024)) '
		/^[0-9a-f]+-[0-9a-f]+ / { guest = /guest-memory|memory-backend-memfd/; memfd = /memfd:/; next }
		$1 == "Size:" && $2 == kib { guest = 1 }
		guest { next }
		$1 == "Rss:" && !memfd { sum += $2 }
		$1 == "Pss:" && memfd { sum += $2 }
		END { print sum }' "/proc/$1/smaps"
}

# private PID: KiB that only this process holds.
private() { awk '/^Private_(Clean|Dirty):/ {sum += $2} END {print sum}' "/proc/$1/smaps_rollup"; }

# boot_seconds SIDE CPUS: one boot to the marker.
boot_seconds() {
	local ns
	side "$1" "$2" lodge.mode=off
	timed 120 -u "$marker_init"
	ns=$(at "$marker_init")
	[ -z "$ns" ] || awk -v n="$ns" 'BEGIN {printf "%.3f\n", n / 1e9}'
}
