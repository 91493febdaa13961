#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# groups.sh - control groups of version 2: where the group of a VM is made, that it has limits and who is to be in it, and that it goes with the
# VM. From the root of the tree; from a group with others in it; alone in a group; and of a keeper that was killed.
set -u
tree=/sys/fs/cgroup
export LODGE_RUN=/tmp/run
. "$JOB/lib.sh"

# start NAME [COMMAND...]: a VM in the background, by the command; keeper is its keeper, group its control group.
start() {
	name=$1
	shift
	"$@" "$LODGE" run --name "$name" --console none --engine kvm --no-probe --sandbox strict --kernel "$GUEST_KERNEL" --initrd "$GUEST_INITRD" -m 128M \
		--cpu-quota 50 --cpu-weight 200 --cmdline "console=ttyS0 quiet panic=-1 lodge.mode=idle" </dev/null &
	run=$!
	wait_for 40 [ -s "$LODGE_RUN/vms/$name/info.json" ] || exit 1
	keeper=$(sed 's/.*"keeper": *\([0-9]*\).*/\1/' "$LODGE_RUN/vms/$name/info.json")
	group=
	for g in $(sed 's/.*\[//; s/\].*//; s/[",]/ /g' "$LODGE_RUN/vms/$name/folders.json"); do
		[ ! -d "$g" ] || group=$g
	done
	expect "$name: limits" "$(cat "$group/memory.max" "$group/pids.max" "$group/cpu.max" "$group/cpu.weight" | tr '\n' ' ')" \
		"$(((128 + 4 + 128) << 20)) 257 50000 100000 200 "
	# (kvm.ko has a thread there, too.)
	expect "$name: who is in it" "$(for p in $(cat "$group/cgroup.procs"); do cat "/proc/$p/comm"; done | grep -v ^kvm-)" lodge-vm
}

stop() {
	"$LODGE" stop -f "$name" >/dev/null
	wait $run
	expect "$name: the group goes with the VM" "$(ls -d "$group" 2>/dev/null)" ""
}

# From the root, which may have processes.
start root
expect "root: where" "$group" "$tree/lodge-root-$keeper"
stop

# With others in the group: beside it.
mkdir $tree/others
sleep 1000 &
other=$!
echo $other >$tree/others/cgroup.procs
start beside sh -c "echo 0 >$tree/others/cgroup.procs; exec \"\$@\"" -
expect "beside: where" "$group" "$tree/lodge-beside-$keeper"
stop
kill $other
wait $other

# Alone in one that was handed over: the keeper makes room.
mkdir $tree/mine
start alone sh -c "echo 0 >$tree/mine/cgroup.procs; exec \"\$@\"" -
expect "alone: where" "$group" "$tree/mine/lodge-alone-$keeper"
expect "alone: its keeper" "$(cat $tree/mine/keeper/cgroup.procs)" "$keeper"
kill -KILL "$keeper"
wait $run
empty() { ! grep -q . "$group/cgroup.procs"; }
wait_for 60 empty
expect "a killed keeper leaves the group" "$(ls -d "$group")" "$group"
"$LODGE" rm alone
expect "and rm removes it" "$(ls -d "$group" 2>/dev/null)" ""
exit $bad
