# SPDX-License-Identifier: Apache-2.0
# wait.sh - for scripts that run in the bed, with busybox's shell.

wait_for() { # SECONDS COMMAND...: until it succeeds
	n=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		[ $n -gt 0 ] || return 1
		sleep 0.1
	done
}
