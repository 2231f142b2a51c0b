#!/bin/bash
# SPDX-License-Identifier: MIT
# Fetch packages from this Debian release's backports through a private apt configuration in the cache. The user's own
# apt sources stay as they are; the mirror is the one they name.
# Usage: scripts/fetch-backports.sh resolve PACKAGE          the package that a metapackage stands for
#        scripts/fetch-backports.sh version [src:]PACKAGE    its newest version
#        scripts/fetch-backports.sh binary DIR PACKAGE...    download and unpack binary packages into DIR
#        scripts/fetch-backports.sh tarball DIR SOURCE       download a source package's tarballs into DIR
set -euo pipefail
. "$(dirname "$0")/lib.sh"

apt_dir=$MICA_CACHE/apt
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
suite=$codename-backports

# private_apt COMMAND...: apt-get or apt-cache with our own lists, cache and sources.
private_apt() {
	local tool=$1
	shift
	"$tool" -q -o Dir::Etc::sourcelist="$apt_dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State::Lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache" \
		-o APT::Sandbox::User= -o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

# mirror: the address of the machine's own Debian archive, whatever format its sources are written in.
mirror() {
	# shellcheck disable=SC2016 # apt's placeholders, not the shell's
	apt-get indextargets --format '$(CODENAME) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
		awk -v name="$codename" '$1 == name && $2 == "Debian" { print $3; exit }'
}

write_sources() {
	local uri options="" keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	uri=$(mirror)
	[ -n "$uri" ] || die "apt knows no Debian $codename archive (run apt-get update once), so backports cannot be derived from it"
	[ ! -f "$keyring" ] || options="[signed-by=$keyring] "
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	printf 'deb %s%s %s main\ndeb-src %s%s %s main\n' "$options" "$uri" "$suite" "$options" "$uri" "$suite" \
		>"$apt_dir/sources.list"
}

update_lists() {
	write_sources
	quiet apt-update private_apt apt-get update -o APT::Update::Error-Mode=any
	touch "$apt_dir/updated"
}

# fresh_lists: package lists exist and are not older than a day.
fresh_lists() {
	[ -n "$(find "$apt_dir/updated" -mmin -1440 2>/dev/null)" ] || update_lists
}

# with_retry COMMAND...: a mirror that moved on since our lists were made answers 404; look again, once.
with_retry() {
	quiet fetch "$@" 2>/dev/null && return 0
	update_lists
	quiet fetch "$@"
}

resolve() {
	private_apt apt-cache depends --no-recommends --no-suggests "$1" |
		awk '$1 == "Depends:" && $2 !~ /^</ { print $2; found = 1; exit } END { exit !found }' ||
		die "$suite has no metapackage $1"
}

version() {
	local name=${1#src:} list
	if [ "$name" != "$1" ]; then
		list=$(private_apt apt-cache showsrc --only-source "$name" 2>/dev/null | sed -n 's/^Version: //p' | sort -rV)
	else
		list=$(private_apt apt-cache show "$name" 2>/dev/null | sed -n 's/^Version: //p' | sort -rV)
	fi
	[ -n "$list" ] || die "$suite has no package $1"
	echo "${list%%$'\n'*}"
}

download_binaries() (
	cd "$1" && shift && private_apt apt-get download "$@"
)

binary() {
	local dir=$1 work deb
	shift
	new_dir "$MICA_CACHE/debs"
	work=$REPLY
	with_retry download_binaries "$work" "$@"
	mkdir -p "$dir"
	for deb in "$work"/*.deb; do
		dpkg-deb -x "$deb" "$dir"
	done
}

download_source() (
	cd "$1" && private_apt apt-get source --download-only --tar-only "$2/$suite"
)

tarball() {
	mkdir -p "$1"
	with_retry download_source "$1" "$2"
}

[ $# -ge 2 ] || die "usage: resolve PACKAGE | version PACKAGE | binary DIR PACKAGE... | tarball DIR SOURCE"
lock apt
fresh_lists
case $1 in
resolve | version | binary | tarball) "$@" ;;
*) die "unknown command '$1'" ;;
esac
