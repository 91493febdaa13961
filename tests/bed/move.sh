#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# move.sh [CPUS ENGINE...] - one guest moves from engine to engine (KVM, the software engine and back), by saved state, while it counts
# and checks what it counted. ENGINE is kvm, soft, or kvm+pit, KVM with the kernel's interval timer: then the guest lives by that; or
# kvm+tsc: KVM, as if the guest came from a host whose time stamp counter ran faster by 10 percent. Run by tests/bed/move with busybox's shell, where LODGE, GUEST_KERNEL and GUEST_INITRD are set.
set -u
. "$JOB/lib.sh"
cpus=${1:-1}
shift $(($# > 0))
[ $# -gt 0 ] || set -- kvm soft kvm
work=$(mktemp -d)
cmdline="console=ttyS0 quiet panic=-1 audit=0 lodge.mode=count lodge.cpus=$cpus"
case " $* " in
*+pit*) cmdline="$cmdline nolapic_timer lapic=notscdeadline" ;;
esac

die() {
	fail "$@"
	exit 1
}

options() { # ENGINE: those of `lodge run`
	case $1 in
	kvm | kvm+tsc) echo --engine kvm --kvm-pit board ;;
	kvm+pit) echo --engine kvm --kvm-pit kernel ;;
	*) echo --engine "$1" ;;
	esac
}

vm() { # PART OPTION...: a machine in the background that reads the pipe
	part=$1
	shift
	"$LODGE" run --no-probe --control "$work/c" "$@" <"$work/in" >"$work/out.$part" 2>"$work/$part.err" &
	pid=$!
}

counted() { [ "$(grep -c '^count ' "$work/out.$1")" -ge "$2" ]; }

counts_or_over() { counted "$1" 3 || ! kill -0 "$pid"; }
counts() { wait_for 250 counts_or_over "$1" && counted "$1" 3; } # PART

mkfifo "$work/in"
exec 5<>"$work/in"
vm 0 $(options "$1") --kernel "$GUEST_KERNEL" --initrd "$GUEST_INITRD" -m 128M -c "$cpus" --debug-exit --rng off --balloon off --agent off \
	--cmdline "$cmdline"
shift
part=0
for engine; do
	counts $part || {
		"$LODGE" ctl "$work/c" dump
		die "no counting in part $part"
	}
	"$LODGE" ctl "$work/c" save "$work/state" --stop || die "save after part $part"
	wait $pid || die "the machine of part $part ended with $?"
	[ "$engine" != kvm+tsc ] || lodge-rate "$work/state" 10 || die "not made a machine of another host"
	next=$((part + 1))
	vm $next --restore "$work/state" $(options "$engine")
	part=$next
	echo "ok   moved to $engine"
done
counts $part || die "no counting in the last part"
echo q >&5
status=0
wait $pid || status=$?
# The guest's word counts: its write to the test device does not arrive in the bed, where QEMU checks a program's port accesses against
# the task state segment only if that is not marked busy, as a processor marks it and as it is restored.
tr -d '\r' <"$work/out.$part" | grep -q '^count-ok ' || die "the guest says that it counted wrong: exit status $status"
cat "$work"/out.* | tr -d '\r' | sed -n 's/^count \([0-9]*\)$/\1/p' >"$work/seen"
wrong=$(awk 'NR > 1 && $1 != last + 16 {print "after", last, "comes", $1} {last = $1}' "$work/seen")
[ -z "$wrong" ] || die "$wrong"
echo "ok   counted to $(tail -n 1 "$work/seen"), nothing lost, nothing twice"

