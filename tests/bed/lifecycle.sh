#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# lifecycle.sh - machines on KVM begin, pause, go on, reset and end; run by tests/bed/lifecycle with busybox's shell, where
# LODGE, GUEST_KERNEL and GUEST_INITRD are set.
set -u
. "$JOB/lib.sh"
work=$(mktemp -d)

start() { # NAME MODE OPTION...
	name=$1 mode=$2
	shift 2
	"$LODGE" run --engine kvm --no-probe --name "$name" --kernel "$GUEST_KERNEL" --initrd "$GUEST_INITRD" -m 128M --control "$work/$name" \
		--cmdline "console=ttyS0 quiet panic=-1 audit=0 lodge.mode=$mode" "$@" </dev/null >"$work/$name.out" 2>"$work/$name.err" &
	pid=$!
}

ended() {
	wait_for 90 sh -c "! kill -0 $pid" || kill -KILL $pid
	status=0
	wait $pid || status=$?
}

boots() { [ "$(grep -c 'lodge-init: user space' "$work/$1.out")" -ge "$2" ]; }
ctl() { "$LODGE" ctl "$work/$1" "$2"; }
why() { "$LODGE" why "$1" 2>&1 | grep -c "$2"; }
said=
nothing_is_wrong() { [ "$(why idle '^nothing is wrong: idle runs since')" = 1 ]; }
number() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$2" | head -n 1; }

for acpi in reduced full; do
	start off off --acpi $acpi
	ended
	expect "power-off by the guest (--acpi $acpi)" "$status" 0
	start reboot reboot --acpi $acpi --no-reboot
	ended
	expect "a reboot of the guest ends it with --no-reboot" "$status" 0
done

start idle idle
expect "boots" "$(wait_for 90 boots idle 1 && echo yes)" yes
ctl idle pause >/dev/null
expect "paused" "$(ctl idle query | grep -c paused)" 1
expect "why it stands still" "$(why idle '^idle is paused because somebody asked for it')" 1
ctl idle stats >"$work/one"
ctl idle stats >"$work/two"
expect "no vCPU time while paused" "$(number vcpu0.cpu_ms "$work/two")" "$(number vcpu0.cpu_ms "$work/one")"
expect "dump of a vCPU" "$(ctl idle dump | grep -c 'lapic 0 (kernel)')" 1
ctl idle resume >/dev/null
expect "goes on" "$(ctl idle query | grep -c running)" 1
# (That it is slow, on a busy host, is right at that moment.)
wait_for 60 nothing_is_wrong || said=$("$LODGE" why idle 2>&1)
expect "why nothing is wrong" "$said" ""
ctl idle reset >/dev/null
expect "a reset boots again" "$(wait_for 90 boots idle 2 && echo yes)" yes
# The guest listens to the button when its driver is there.
n=0
while kill -0 $pid 2>/dev/null && [ $n -lt 180 ]; do
	ctl idle powerdown >/dev/null 2>&1
	n=$((n + 1))
	sleep 0.5
done
ended
expect "powers off by the button" "$status" 0
exit $bad
