# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the build and guest scripts: messages, the content-keyed cache, locks, atomic artefacts, quiet long builds.
# Source it after `set -euo pipefail`.

MICA_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MICA_CACHE=${MICA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mica}
MICA_BUILD=${MICA_BUILD:-$MICA_TOP/build}
MICA_JOBS=${MICA_JOBS:-$(nproc)}
export MICA_TOP MICA_CACHE MICA_BUILD MICA_JOBS

# A make that called us has its own job server; the makes that we call start afresh.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# Everything is said on stderr: the stdout of a script is its result (a path, mostly).
say()  { printf '%s\n' "$*" >&2; }
step() { printf '  %-7s %s\n' "$1" "$2" >&2; }
die()  { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# --- Clean-up that also happens on Ctrl-C -------------------------------------------------------------------------

MICA_CLEANUP=()

# on_exit COMMAND: run at exit, the newest first, whatever the way out.
on_exit() { MICA_CLEANUP+=("$1"); }

run_cleanup() {
	local status=$? i
	trap - EXIT INT TERM HUP
	for ((i = ${#MICA_CLEANUP[@]} - 1; i >= 0; i--)); do
		eval "${MICA_CLEANUP[i]}" || true
	done
	exit "$status"
}

trap run_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# --- Cache, keys and locks ----------------------------------------------------------------------------------------

# content_key WORD...: a short hash of the words; words of the form @FILE stand for the file's bytes.
content_key() {
	local word
	for word in "$@"; do
		case $word in
		@*) sha256sum <"${word#@}" ;;
		*) printf '%s\n' "$word" ;;
		esac
	done | sha256sum | cut -c1-16
}

# tree_key DIR...: a hash of the names and bytes of all files below the folders (missing folders count as empty).
tree_key() {
	local dir
	for dir in "$@"; do
		[ -d "$dir" ] || continue
		(cd "$dir" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum)
	done | sha256sum | cut -c1-16
}

# lock NAME: hold an exclusive lock until this script ends; say so when there is a wait.
lock() {
	local file="$MICA_CACHE/locks/$1" fd
	mkdir -p "$MICA_CACHE/locks"
	exec {fd}>"$file"
	if ! flock -n "$fd"; then
		step WAIT "for another build of $1"
		flock "$fd"
	fi
}

# need_space DIR MEGABYTES: refuse a build that would fill the disk.
need_space() {
	local free
	mkdir -p "$1"
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] || die "$1 has $free MB free, this step needs $2 MB (MICA_CACHE chooses another place)"
}

# new_dir PATH: print a fresh folder beside PATH for building; it is removed at exit unless publish_dir took it.
# The caller names it:  new_dir "$result"; work=$REPLY
new_dir() {
	mkdir -p "$(dirname "$1")"
	REPLY=$(mktemp -d "$1.tmp.XXXXXX")
	chmod 755 "$REPLY"
	on_exit "rm -rf '$REPLY'"
}

# publish_dir WORK PATH: WORK becomes PATH in one rename. A half-made artefact never carries the final name.
publish_dir() {
	rm -rf "$2"
	mv -T "$1" "$2"
}

# publish_file WORK PATH: the same for a file; a reader sees the old one or the new one.
publish_file() {
	mv -fT "$1" "$2"
}

# stale PATH...: remove what killed builds (power cut, kill -9) left beside PATH. Call with its lock held.
stale() {
	local path
	for path in "$@"; do
		find "$(dirname "$path")" -maxdepth 1 -name "$(basename "$path").tmp.*" -exec rm -rf {} + 2>/dev/null || true
	done
}

# --- Long builds: one progress line, the log in the cache ---------------------------------------------------------

# show_progress NAME: turn "[12/345] ..." lines on stdin into one line "[NAME 12/345]".
show_progress() {
	local name=$1 line last=0 now
	while IFS= read -r line; do
		[[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
		if [ -t 2 ]; then
			printf '\r[%s %s/%s] ' "$name" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" >&2
			continue
		fi
		printf -v now '%(%s)T' -1
		((now - last >= 20)) || continue
		last=$now
		printf '[%s %s/%s]\n' "$name" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" >&2
	done
	if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}

# quiet NAME COMMAND...: run with all output in a log; on failure print the log's tail and where it is.
quiet() {
	local name=$1 log status=0
	shift
	mkdir -p "$MICA_CACHE/log"
	log=$MICA_CACHE/log/$name.$$.log
	{ "$@" 2>&1 </dev/null | tee -a "$log" | show_progress "$name"; } || status=${PIPESTATUS[0]}
	if [ "$status" -ne 0 ]; then
		say "--- $name failed (status $status), the end of its log:"
		tail -n 30 "$log" >&2
		say "--- all of it: $log"
		return "$status"
	fi
	rm -f "$log"
}
