# SPDX-License-Identifier: Apache-2.0
# lib.sh - how tests that are scripts compare and wait. Sourced after scripts/common.sh; what fails sets `bad`, their exit status.

bad=0

fail() {
	echo "FAIL $*"
	bad=1
}

expect() { # WHAT GOT WANTED
	if [ "$2" = "$3" ]; then
		echo "ok   $1"
	else
		fail "$1: \"$2\", not \"$3\""
	fi
}

matches() { # WHAT GOT PATTERN
	if [[ $2 =~ $3 ]]; then
		echo "ok   $1"
	else
		fail "$1: \"$2\" does not match $3"
	fi
}

# no_process_with TEXT: see processes_with. What was killed, or has said its last, may be there for a moment: to be waited for.
no_process_with() { [ -z "$(processes_with "$1")" ]; }

# wait_for SECONDS COMMAND...: until it succeeds; in vain also when `machine_pid` is set and that process has ended.
wait_for() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt "$end" ] || return 1
		[ -z "${machine_pid:-}" ] || kill -0 "$machine_pid" 2>/dev/null || return 1
		sleep 0.05
	done
}
