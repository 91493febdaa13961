#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# flat.sh - runs the flat guests of a build: `tests/cpu/flat.sh BUILD [--qemu] [--modes "M ..."] [NAME...]`
#
# Prints `ok NAME MODE` or `not ok NAME MODE: exit N (meaning)` for each, exits 1 if one failed. Two at a time, or one
# with one processor. --qemu runs them in QEMU's TCG instead: the oracle that the guests were written against. --modes:
# `reference` and `translate` of the software engine (unless asked otherwise, both); `kvm`: Lodge's KVM
# engine; `qemu` as --qemu; `qemu-kvm`: QEMU with KVM. The last but one and two need a KVM: see tests/bed/flat.
#
# The opening comment of NAME.S may say, for this script:
#   expect: N    exit status of `lodge run` (0)        cpus: N     processors (1)
#   seconds: N   time limit (60)                       memory: N   MiB (64)
#   kvm: N,N     these checks may fail under any KVM   bed: N,N     these in the bed, as QEMU's TCG emulates badly
#   qemu: no     not to be run in QEMU                 modes: M,M  of the software engine only these (chaos: as translate)
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=${1:?usage: flat.sh BUILD [--qemu] [--modes "M ..."] [NAME...]}
shift
modes="reference translate" names=()
while [ $# -gt 0 ]; do
	case $1 in
	--qemu) modes=qemu ;;
	--modes)
		modes=${2:?--modes needs a list}
		shift
		;;
	*) names+=("$1") ;;
	esac
	shift
done
if [ ${#names[@]} -eq 0 ]; then
	for f in "$build"/tests/cpu/flat-*; do
		case $f in *.o | *.d | *.p) ;; *) names+=("$(basename "$f" | sed 's/^flat-//')") ;; esac
	done
fi

# word NAME KEY DEFAULT: what the source says.
word() {
	local w
	w=$(sed -n '1,/\*\//p' "$here/flat/$1.S" | grep -o "\b$2: [0-9a-z,]*" | head -n 1)
	w=${w#*: } w=${w%,}
	echo "${w:-$3}"
}

meaning() { # STATUS EXPECTED
	case $1 in
	100) echo "an exception that nobody asked for" ;;
	101) echo "time-out in the guest" ;;
	124) echo "time limit" ;;
	125) echo "the VM ended by itself" ;;
	126 | 127) echo "could not be started" ;;
	*) [ "$1" -ge 128 ] && echo "signal $(($1 - 128))" || echo "check $1, see tests/cpu/flat; expected $2" ;;
	esac
}

run_one() { # NAME MODE
	local name=$1 mode=$2 status want cpus secs mem log accel words
	# QEMU's "no such file" would be read as a guest that ended well.
	[ -s "$build/tests/cpu/flat-$name" ] || {
		echo "not ok $name $mode: there is no $build/tests/cpu/flat-$name"
		return
	}
	want=$(word "$name" expect 0) cpus=$(word "$name" cpus 1)
	secs=$(word "$name" seconds 60) mem=$(word "$name" memory 64)
	log=$(mktemp)
	[ -z "${BED:-}" ] || secs=$((secs * 4))
	words=flat:
	case $mode in
	*kvm)
		words="$words kvm $(word "$name" kvm "")"
		[ -z "${BED:-}" ] || words="$words tcg $(word "$name" bed "")"
		;;
	esac
	case $mode in
	qemu) accel=(-accel tcg -cpu "max,la57=off") ;;
	qemu-kvm) accel=(-accel kvm -cpu host) ;;
	kvm) accel=(--engine kvm --no-probe) ;;
	*) accel=(--engine soft --soft-mode "$mode") ;;
	esac
	if [[ $mode == qemu* ]]; then
		timeout "$secs" qemu-system-x86_64 "${accel[@]}" -m "$mem" -smp "$cpus" -nodefaults \
			-display none -no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 \
			-append "$words" -kernel "$build/tests/cpu/flat-$name" >"$log" 2>&1 </dev/null
		status=$?
		case $status in
		124) ;;
		*[13579]) status=$((status >> 1)) ;; # isa-debug-exit: (code << 1) | 1
		*) status=125 ;;
		esac
	else
		timeout "$secs" "${LODGE:-$build/src/lodge}" run "${accel[@]}" --debug-exit --no-reboot -m "${mem}M" -c "$cpus" \
			--cmdline "$words" --kernel "$build/tests/cpu/flat-$name" >"$log" 2>&1 </dev/null
		status=$?
	fi
	if [ "$status" = "$want" ]; then
		echo "ok $name $mode"
	else
		echo "not ok $name $mode: exit $status ($(meaning "$status" "$want"))"
		sed 's/^/#   /' "$log" | tail -5
	fi
	rm -f "$log"
}

processors=$(nproc)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for name in "${names[@]}"; do
	only=$(word "$name" modes "")
	for mode in $modes; do
		[[ $mode == qemu* ]] && [ "$(word "$name" qemu yes)" = no ] && continue
		like=${mode/chaos/translate}
		[ -z "$only" ] || [[ $mode == *qemu* || $mode == kvm ]] || [[ ,$only, == *,$like,* ]] || continue
		while [ "$(jobs -pr | wc -l)" -ge $((processors > 1 ? 2 : 1)) ]; do wait -n; done
		run_one "$name" "$mode" | tee -a "$out" &
	done
done
wait
[ -s "$out" ] && ! grep -q '^not ok' "$out"
