#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in a guest with the debug kernel, by way of run-in-guest: a case for each bug of mica_bugs.ko. Every one of them must come
# out as "not ok", and so must the search for leaks at the end (tests/guest/run-checker-tests.sh looks). lockdep gives up after its first
# report, and after one of KASAN's: these come last.

n=0
for bug in leak dma objects shift atomic_sleep rcu lock_order out_of_bounds use_after_free; do
	n=$((n + 1))
	echo "mica-case: $n" >/dev/kmsg
	insmod /usr/lib/mica/tests/mica_bugs.ko bug=$bug 2>&1 && rmmod mica_bugs
	echo "ok $n $bug"
done
echo "1..$n"
