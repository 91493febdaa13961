# SPDX-License-Identifier: Apache-2.0
# lib.sh - how scripts that run in the bed, with busybox's shell, compare and wait. What fails sets `bad`, their exit status, and shows the
# ends of what lies in `work`, if they have such a folder.

bad=0

fail() {
	echo "FAIL $*"
	[ -z "${work:-}" ] || tail -n 5 "$work"/*.err "$work"/*.out "$work"/out.* 2>/dev/null
	bad=1
}

expect() { # WHAT GOT WANTED
	if [ "$2" = "$3" ]; then
		echo "ok   $1"
	else
		fail "$1: \"$2\", not \"$3\""
	fi
}

wait_for() { # SECONDS COMMAND...: until it succeeds
	n=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		[ $n -gt 0 ] || return 1
		sleep 0.1
	done
}
