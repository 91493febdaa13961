#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What the user sees for wrong input: bad_input.sh BUILD_DIR
#
# Each case must answer within a second, with the documented exit status (2: the words are wrong, 1: what they
# name is wrong), nothing on stdout, and exactly one sentence on stderr; with --json-errors exactly
# one object that has code, field, value, limit and hint. Nothing may be left: no process, no socket.
set -u

build=${1:?usage: bad_input.sh BUILD_DIR}
[ -x "$build/lodge" ] || build=$build/src
lodge=$build/lodge
limit_ms=${LODGE_TEST_LIMIT_MS:-1000}
dir=$(mktemp -d "${TMPDIR:-/tmp}/lodge-bad-XXXXXX")
trap 'rm -rf "$dir"' EXIT
n=0 bad=0

[ -x "$lodge" ] || { echo "not ok - $lodge is not there"; exit 1; }

result() { # result NAME WHY...: no WHY is a pass
	n=$((n + 1))
	if [ $# -eq 1 ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '# %s\n' "${@:2}"
		bad=$((bad + 1))
	fi
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# refuse NAME STATUS FIELD PATTERN ARG...: PATTERN (extended regular expression) is in the sentence, FIELD in the JSON.
refuse() {
	local name=$1 want=$2 field=$3 pattern=$4 why=() start took status lines object key
	shift 4

	start=$(now_ms)
	timeout -k 1 10 "$lodge" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	took=$(($(now_ms) - start))
	lines=$(wc -l <"$dir/err")
	[ "$status" = "$want" ] || why+=("exit status $status, not $want")
	[ "$took" -le "$limit_ms" ] || why+=("took $took ms")
	[ -s "$dir/out" ] && why+=("wrote to stdout: $(head -c 200 "$dir/out")")
	[ "$lines" = 1 ] || why+=("$lines lines on stderr")
	grep -qE -- "$pattern" "$dir/err" || why+=("no match for: $pattern")
	grep -q '^lodge' "$dir/err" || why+=("does not begin with lodge")
	LC_ALL=C grep -q '[^[:print:]]' <(LC_ALL=C tr -d '\200-\377' <"$dir/err") && why+=("control bytes in the sentence")
	[ "$(wc -c <"$dir/err")" -le 600 ] || why+=("the sentence is too long")
	[ ${#why[@]} -eq 0 ] || why+=("stderr: $(head -c 600 "$dir/err")")

	timeout -k 1 10 "$lodge" --json-errors "$@" >"$dir/out" 2>"$dir/json" </dev/null
	status=$?
	object=$(cat "$dir/json")
	[ "$status" = "$want" ] || why+=("with --json-errors: exit status $status, not $want")
	[ "$(wc -l <"$dir/json")" = 1 ] || why+=("with --json-errors: not one line")
	for key in message code field value limit hint; do
		grep -q "\"$key\":\"" <<<"$object" || why+=("JSON without $key: $object")
	done
	grep -qF "\"field\":\"$field\"" <<<"$object" || why+=("JSON field is not $field: $object")
	echo "$object" >>"$dir/objects"
	result "$name" "${why[@]}"
}

accept() { # accept NAME PATTERN ARG...: status 0 and a text on stdout
	local name=$1 pattern=$2 why=() status
	shift 2

	timeout -k 1 10 "$lodge" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status = 0 ] || why+=("exit status $status")
	[ -s "$dir/err" ] && why+=("stderr: $(head -c 300 "$dir/err")")
	grep -qE -- "$pattern" "$dir/out" || why+=("no match for: $pattern")
	result "$name" "${why[@]}"
}

repeat() { # repeat N CHARACTER
	local s
	printf -v s '%*s' "$1" ''
	echo "${s// /$2}"
}

# A file that passes for a kernel until somebody looks inside.
k=$dir/kernel
head -c 65536 /dev/zero >"$k"
mkdir "$dir/directory"
mkfifo "$dir/fifo"
: >"$dir/empty"
truncate -s 64M "$dir/big"
printf 'x' >"$dir/secret"
chmod 000 "$dir/secret"
run=(run --engine soft --kernel "$k")

# ---- commands ----

refuse "no command" 2 command "no command"
refuse "misspelt command" 2 command "did you mean run\?" rum
refuse "unknown command" 2 command "see lodge help" frobnicate
refuse "empty command" 2 command "no command" ""
refuse "option before the command" 2 --frob "no option --frob" --frob run
refuse "help of an unknown command" 2 command "did you mean run\?" help runn
refuse "version with an argument" 2 "" "no arguments" version now
refuse "doctor with an argument" 2 "" "no arguments" doctor now
accept "help" "lodge run" help
accept "--help" "lodge run" --help
accept "help run" "--kernel" help run
accept "run --help" "--kernel" run --help
accept "version" "^lodge [0-9]" version
accept "doctor" "^kvm +(not )?usable: " doctor

# ---- words ----

refuse "no kernel" 2 --kernel "--kernel FILE" run
refuse "misspelt option" 2 --memroy "did you mean --memory\?" "${run[@]}" --memroy 1G
refuse "misspelt option with =" 2 --kernal "did you mean --kernel\?" run --kernal="$k"
refuse "unknown option" 2 --wings "no option --wings" "${run[@]}" --wings
refuse "unknown short option" 2 -Z "no option -Z" "${run[@]}" -Z
refuse "option with control bytes" 2 "--me?[31m" "no option" "${run[@]}" $'--me\e[31m'
refuse "option without its value" 2 --memory "--memory needs a value" "${run[@]}" --memory
refuse "short option without its value" 2 --cpus "--cpus needs a value" "${run[@]}" -c
refuse "option given twice" 2 --memory "given twice" "${run[@]}" -m 1G --memory=2G
refuse "flag with a value" 2 --quiet "takes no value" "${run[@]}" --quiet=yes
refuse "stray argument" 2 "" "takes no plain argument" "${run[@]}" stray

refuse "memory 0" 2 --memory "zero" "${run[@]}" -m 0
refuse "memory -1" 2 --memory "negative" "${run[@]}" -m -1
refuse "memory 1e30" 2 --memory "exponent" "${run[@]}" -m 1e30
refuse "memory \"4 GB\"" 2 --memory "blank" "${run[@]}" -m "4 GB"
refuse "memory 1.5G" 2 --memory "whole number" "${run[@]}" -m 1.5G
refuse "memory empty" 2 --memory "empty" "${run[@]}" --memory=
refuse "memory text" 2 --memory "not a size" "${run[@]}" -m lots
refuse "memory unknown unit" 2 --memory "unknown unit" "${run[@]}" -m 4X
refuse "memory too small" 2 --memory "too small" "${run[@]}" -m 1M
refuse "memory too large" 2 --memory "too large" "${run[@]}" -m 2T
refuse "memory over 64 bits" 2 --memory "too large" "${run[@]}" -m 99999999999999999999G
refuse "memory not whole pages" 2 --memory "4 KiB" "${run[@]}" -m 16777217
refuse "more memory than the host has" 1 --memory "more than this host has" "${run[@]}" \
	-m $(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 1024 + 1024))M

refuse "0 CPUs" 2 --cpus "too small" "${run[@]}" -c 0
refuse "-1 CPUs" 2 --cpus "whole number" "${run[@]}" -c -1
refuse "256 CPUs" 2 --cpus "too large: at most 255" "${run[@]}" -c 256
refuse "CPUs over 64 bits" 2 --cpus "too large" "${run[@]}" -c 99999999999999999999
refuse "CPUs 1.5" 2 --cpus "whole number" "${run[@]}" -c 1.5
refuse "CPUs 0x2" 2 --cpus "whole number" "${run[@]}" -c 0x2
refuse "CPUs empty" 2 --cpus "whole number" "${run[@]}" --cpus=

refuse "engine unknown" 2 --engine "auto, kvm, soft" run --kernel "$k" --engine tcg
refuse "engine empty" 2 --engine "auto, kvm, soft" run --kernel "$k" --engine=
refuse "soft mode unknown" 2 --soft-mode "translate, reference, lockstep" "${run[@]}" --soft-mode fast
refuse "soft mode with KVM" 2 --soft-mode "software engine" run --kernel "$k" --engine kvm --soft-mode reference
refuse "engine kvm: one clear sentence" 1 --engine "--engine kvm: " run --kernel "$k" --engine kvm

refuse "name with ../" 2 --name "not allowed|begins with" "${run[@]}" --name ../x
refuse "name with a slash" 2 --name "not allowed" "${run[@]}" --name a/b
refuse "name with a leading -" 2 --name 'begins with "-"' "${run[@]}" --name=-x
refuse "name of 300 characters" 2 --name "300 characters, at most 64" "${run[@]}" --name "$(repeat 300 x)"
refuse "name with control bytes" 2 --name "not allowed" "${run[@]}" --name $'a\e[31mb'
refuse "name with a line break" 2 --name "not allowed" "${run[@]}" --name $'a\nb'
refuse "name empty" 2 --name "empty" "${run[@]}" --name ""

refuse "command line of 2048 bytes" 2 --cmdline "at most 2047" "${run[@]}" --cmdline "$(repeat 2048 x)"
refuse "command line with a line break" 2 --cmdline "line break" "${run[@]}" --cmdline $'a\nb'
refuse "console unknown" 2 --console "stdio, none, file:PATH or pty" "${run[@]}" --console vga
refuse "console file without a path" 2 --console "needs a path" "${run[@]}" --console file:
refuse "timeout 0" 2 --timeout "too small" "${run[@]}" --timeout 0
refuse "timeout text" 2 --timeout "whole number" "${run[@]}" --timeout soon

# ---- files ----

refuse "kernel missing" 1 --kernel "No such file" run --engine soft --kernel "$dir/none"
refuse "kernel is a directory" 1 --kernel "is a directory" run --engine soft --kernel "$dir/directory"
refuse "kernel is a FIFO" 1 --kernel "is a FIFO" run --engine soft --kernel "$dir/fifo"
refuse "kernel is a device" 1 --kernel "is a device" run --engine soft --kernel /dev/zero
refuse "kernel is empty" 1 --kernel "is empty" run --engine soft --kernel "$dir/empty"
refuse "kernel path empty" 2 --kernel "is empty" run --engine soft --kernel ""
refuse "kernel path too long" 1 --kernel "too long" run --engine soft --kernel "/$(repeat 5000 x)"
refuse "initrd missing" 1 --initrd "No such file" "${run[@]}" --initrd "$dir/none"
refuse "initrd is a directory" 1 --initrd "is a directory" "${run[@]}" --initrd "$dir/directory"
refuse "initrd is a FIFO" 1 --initrd "is a FIFO" "${run[@]}" --initrd "$dir/fifo"
refuse "initrd is empty" 1 --initrd "is empty" "${run[@]}" --initrd "$dir/empty"
refuse "initrd larger than the memory" 1 --initrd "does not fit" "${run[@]}" -m 32M --initrd "$dir/big"
if [ "$(id -u)" != 0 ]; then
	refuse "kernel unreadable" 1 --kernel "Permission denied" run --engine soft --kernel "$dir/secret"
else
	result "kernel unreadable # skip: root may read everything"
fi
refuse "console file in no folder" 1 --console "No such file" "${run[@]}" --console "file:$dir/none/x"
refuse "console file is a directory" 1 --console "Is a directory" "${run[@]}" --console "file:$dir/directory"

# ---- control sockets ----

refuse "control path too long" 1 --control "at most 107" "${run[@]}" --control "$dir/$(repeat 200 x)"
refuse "control path is a file" 1 --control "is not a socket" "${run[@]}" --control "$k"
refuse "control path in no folder" 1 --control "No such file" "${run[@]}" --control "$dir/none/s"
refuse "control path empty" 1 --control "is empty" "${run[@]}" --control ""
refuse "ctl without arguments" 2 "" "lodge ctl PATH COMMAND" ctl
refuse "ctl without a command" 2 "" "lodge ctl PATH COMMAND" ctl "$dir/s"
refuse "ctl misspelt command" 2 command "did you mean pause\?" ctl "$dir/s" puase
refuse "ctl unknown option" 2 --force "no option" ctl "$dir/s" quit --force
refuse "ctl no socket" 1 control "no control socket" ctl "$dir/none" query
refuse "ctl not a socket" 1 control "not the control socket|stale" ctl "$k" query
refuse "ctl path too long" 1 control "at most 107" ctl "$dir/$(repeat 200 x)" query
refuse "ctl vcpu out of range" 2 --vcpu "too large" ctl "$dir/s" dump --vcpu 300

# ---- kernels that lodge-vm must refuse ----

if [ -x "$build/lodge-vm" ]; then
	refuse "kernel of zeroes" 1 --kernel "kernel" "${run[@]}"
	head -c 100 /dev/urandom >"$dir/noise"
	refuse "kernel of noise" 1 --kernel "noise" run --engine soft --kernel "$dir/noise"
	# An ELF file for another machine (e_machine 183, AArch64), and one that ends in its header.
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267\0\1\0\0\0' >"$dir/arm"
	head -c 4096 /dev/zero >>"$dir/arm"
	refuse "kernel of another architecture" 1 --kernel "arm" run --engine soft --kernel "$dir/arm"
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\076\0\1\0' >"$dir/cut"
	refuse "kernel cut off" 1 --kernel "cut" run --engine soft --kernel "$dir/cut"
	refuse "after a refused kernel no socket is left" 1 --kernel "kernel" "${run[@]}" --control "$dir/s"
	[ ! -e "$dir/s" ] && result "no socket is left" || result "no socket is left" "$dir/s exists"
else
	result "kernels that lodge-vm must refuse # skip: no lodge-vm in $build"
fi

if command -v python3 >/dev/null; then
	if text=$(python3 -c 'import json, sys
for line in open(sys.argv[1]): json.loads(line)' "$dir/objects" 2>&1); then
		result "every error object is JSON"
	else
		result "every error object is JSON" "$text"
	fi
fi

left=$(pgrep -f "^$build/lodge-vm" 2>/dev/null | wc -l)
[ "$left" = 0 ] && result "no process is left" || result "no process is left" "$left lodge-vm processes run"

echo "1..$n"
[ $bad -eq 0 ] || echo "# $bad of $n failed"
exit $((bad > 0))
