# SPDX-License-Identifier: Apache-2.0
# cpu.sh - how the figures cpu and smp run lodge-cpubench (tests/guest/cpubench), and cpu-debian programs of Debian
# (tests/guest/programs), natively and in a guest.
#
# A run leaves its results in $bench_dir/cpu.data, one a line: SIDE<TAB>NAME<TAB>NANOSECONDS<TAB>SUM. The sums of
# the native runs are the reference: another sum in Lodge is a failure of the whole bench, said loudly. The
# guest takes the times by its own clock; how far that clock went between first and last line is
# compared with ours.

bench_cpu_memory_mib=256
cpu_tests=${BENCH_CPU_TESTS:-}
cpu_scale=${BENCH_CPU_SCALE:-100}
cpu_best=${BENCH_CPU_BEST:-}

# Sets cpu_native, the command, and cpu_initrd and cpu_word, which are the guest's.
cpu_prepare() {
	local guest=$top/tests/guest/cpubench
	local cpubench=$build_release/tests/guest/cpubench/lodge-cpubench
	cpu_native=("$cpubench" --tmp /dev/shm --busybox "$cache/busybox") cpu_word=lodge.bench=
	cpu_initrd=$bench_dir/cpu.cpio
	[[ $cpu_scale =~ ^[1-9][0-9]*$ ]] || die "BENCH_CPU_SCALE: $cpu_scale is not a number"
	logged build-cpubench ninja -C "$build_release" "${cpubench#"$build_release"/}"
	cat >"$bench_dir/cpu.list" <<-LIST
		dir /bin 755
		dir /dev 755
		dir /proc 755
		dir /tmp 755
		char /dev/console 600 5 1
		char /dev/null 666 1 3
		file /init 755 $guest/init
		file /bin/busybox 755 $cache/busybox
		link /bin/sh busybox
		file /bin/lodge-guest 755 $build_release/tests/guest/linux/lodge-guest
		file /bin/lodge-cpubench 755 $cpubench
	LIST
	logged mkinitramfs-cpu "$build_release/src/lodge-mkinitramfs" "$cpu_initrd" "$bench_dir/cpu.list"
	: >"$bench_dir/cpu.data"
}

# The same for Debian's programs.
cpu_prepare_debian() {
	need_programs
	mkdir -p "$bench_dir/work"
	cpu_native=(env "BUSYBOX=$cache/busybox" "$cache/busybox" sh "$programs_dir/work" "$programs/tree" "$bench_dir/work" bench)
	cpu_word=lodge.work=bench, bench_cpu_memory_mib=512
	cpu_initrd=$bench_dir/programs.cpio
	logged mkinitramfs-programs programs_initrd "$cpu_initrd"
	: >"$bench_dir/cpu.data"
}

# cpu_run SIDE LABEL CPUS ARGUMENT...: one run of the program by a side (native, lodge, a CPU model of QEMU).
# Its results go into cpu.data under LABEL. Anything that is not a result is told on standard error.
cpu_run() {
	local who=$1 label=$2 cpus=$3 out=$bench_dir/cpu.out
	local initrd=$cpu_initrd bench_memory_mib=$bench_cpu_memory_mib args
	shift 3
	if [ "$who" = native ]; then
		"${cpu_native[@]}" "$@" >"$out" 2>"$bench_dir/stderr" </dev/null || true
	else
		args=$*
		side "$who" "$cpus" "$cpu_word${args// /,}"
		"$build_release/src/lodge-timeit" -t 900 -m "cpubench: begin" -m "cpubench: end" -o "$bench_dir/report" \
			-- "${side[@]}" 2>"$bench_dir/stderr" | tr -d '\r' >"$out" || true
		cpu_clock "$who" "$label"
	fi
	if ! grep -q '^cpubench: end ' "$out"; then
		say "bench: cpu: $label did not come to the end; its last lines:"
		tail -n 5 "$out" "$bench_dir/stderr" >&2
		[[ $who != native && $who != lodge ]] || bench_failed=1
	fi
	if grep '^cpubench: ' "$out" | grep -v '^cpubench: \(begin$\|end \)' | sed "s/^/bench: cpu: $label: /" >&2; then
		[[ $who != native && $who != lodge ]] || ! grep -q '^cpubench: FAIL' "$out" || bench_failed=1
	fi
	sed -nE "s/^([a-z0-9-]+\t[0-9]+\t[0-9a-f]{16})\$/$label\t\1/p" "$out" >>"$bench_dir/cpu.data"
}

# cpu_clock SIDE LABEL: the guest's clock against ours, over the whole run. Off by more than 3 % + 0.2 s,
# its times are worth nothing.
cpu_clock() {
	awk -F '\t' -v out="$bench_dir/cpu.out" -v label="$2" '
		$1 == "cpubench: begin" { begin = $2 }
		$1 == "cpubench: end" { end = $2 }
		END {
			while ((getline line <out) > 0)
				if (line ~ /^cpubench: end /) { split(line, f, " "); guest = f[3] }
			if (!guest || !end)
				exit 0
			host = end - begin
			off = host > guest ? host - guest : guest - host
			if (off <= host * 0.03 + 2e8)
				exit 0
			printf "bench: cpu: CLOCK of %s: %.2f s by its own clock, %.2f s by ours\n", label, guest / 1e9, host / 1e9
			exit 1
		}' "$bench_dir/report" >&2 || [ "$1" != lodge ] || bench_failed=1
}

# For awk: the value of a side in a test from ns[] and count[]: the median, or with best the smallest.
cpu_value='
	function value(s, t, n, i, j, x, v) {
		n = count[s, t]
		if (!n)
			return 0
		for (i = 1; i <= n; i++) {
			x = ns[s, t, i]
			for (j = i - 1; j > 0 && v[j] > x; j--)
				v[j + 1] = v[j]
			v[j + 1] = x
		}
		if (best)
			return v[1]
		return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
	}'

# cpu_summary FIGURE: the figures of cpu.data on standard output, a table on standard error. Fails if a result of Lodge
# is missing or wrong.
cpu_summary() {
	awk -F '\t' -v figure="$1" -v best="$cpu_best" "$cpu_value"'
		function cell(v, native) { return v ? sprintf("%.2f", v / native) : "-" }
		{
			if (!($2 in seen)) {
				seen[$2] = 1
				order[++tests] = $2
			}
			if ($1 == "native") {
				if (($2 in sum) && sum[$2] != $4) {
					printf "bench: cpu: %s gives %s and %s natively\n", $2, sum[$2], $4 >"/dev/stderr"
					bad = 1
				}
				sum[$2] = $4
			} else if (sum[$2] != $4) {
				printf "bench: cpu: WRONG RESULT of %s in %s: %s, natively %s\n", $1, $2, $4, sum[$2] >"/dev/stderr"
				if ($1 == "lodge")
					bad = 1
				next
			}
			ns[$1, $2, ++count[$1, $2]] = $3
			if ($1 != "native" && $1 != "lodge")
				peers[$1] = 1
		}
		END {
			printf "  %-14s %12s  %8s", figure, "native ns", "lodge" >"/dev/stderr"
			for (p in peers)
				printf "  %14s", p >"/dev/stderr"
			printf "   (times native)\n" >"/dev/stderr"
			for (i = 1; i <= tests; i++) {
				t = order[i]
				native = value("native", t)
				lodge = value("lodge", t)
				if (!native)
					continue
				qemu = 0
				printf "  %-14s %12.0f  %8s", t, native, cell(lodge, native) >"/dev/stderr"
				for (p in peers) {
					q = value(p, t)
					printf "  %14s", cell(q, native) >"/dev/stderr"
					if (q && (!qemu || q < qemu))
						qemu = q
				}
				printf "\n" >"/dev/stderr"
				if (!lodge) {
					printf "bench: cpu: %s: no result of Lodge\n", t >"/dev/stderr"
					bad = 1
					continue
				}
				printf "%s.%s.vs-native\t%.3f\tx\n", figure, t, native / lodge
				log_native += log(native / lodge)
				n_native++
				if (qemu) {
					printf "%s.%s.vs-qemu\t%.2f\tx\n", figure, t, qemu / lodge
					log_qemu += log(qemu / lodge)
					n_qemu++
				}
			}
			if (n_native)
				printf "%s.geomean.vs-native\t%.3f\tx\n", figure, exp(log_native / n_native)
			if (n_qemu)
				printf "%s.geomean.vs-qemu\t%.2f\tx\n", figure, exp(log_qemu / n_qemu)
			exit bad || !n_native
		}' "$bench_dir/cpu.data" || bench_failed=1
}
