#!/bin/bash
# Measures how long it takes to start a program with numastow run, beside systemd-run --scope (v2) and cgexec (v1), in a
# virtual machine of each kind.
#
# usage: tests/bench/run-vm.sh [RUNS]            boots one machine after the other (RUNS: 21)
#
# SHAPES in the environment: only these (v2-systemd v1). Prints the lines of tests/bench/times for tests/bench/run, each after
# the version of the cgroups and a tab. Emulation slows down the kernel and programs alike, so the ratios mean something, but
# the milliseconds do not. systemd-run and cgexec are given a CPU set, too, but plan nothing and keep no ledger.
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")

if [[ ! ${NUMASTOW_VM:-} ]]; then
	for shape in ${SHAPES:-v2-systemd v1}; do
		"$root/tests/vm/run" --timeout 2400 --quiet --env RUNS="${1:-21}" --env NUMASTOW_BUILD "$shape" "$here/run-vm.sh" || exit
	done
	exit 0
fi

# shellcheck source=../vm/lib.sh disable=SC2154
. "$root/tests/vm/lib.sh"
build=${NUMASTOW_BUILD:-$root/build/release}
numastow=$build/numastow

# job NAME COMMAND... - a line for tests/bench/times. What ended before is reclaimed first, as an agent does it: else the next
# start reclaims it.
job()
{
	local IFS=$'\t' name=$1

	shift
	echo "$name"$'\t'/dev/null$'\t'/dev/null$'\t'"$numastow gc --quiet >/dev/null"$'\t'"$*"
}

{
	job "empty program" "$build/tests/bench/empty"
	job "numastow run" "$numastow" run --nodes 1 --cpus 1 -- /bin/true
	job "numastow run --exclusive" "$numastow" run --nodes 1 --cpus 1 --exclusive -- /bin/true
	if [[ $VM_CGROUP == v1 ]]; then
		mkdir -p /sys/fs/cgroup/{cpuset,memory}/bench
		echo 4-7 >/sys/fs/cgroup/cpuset/bench/cpuset.cpus
		echo 1 >/sys/fs/cgroup/cpuset/bench/cpuset.mems
		job cgexec "$(command -v cgexec)" -g cpuset,memory:bench /bin/true
		# What a group of the program's own takes.
		own=cpuset,memory:own
		job "cgcreate, cgset, cgexec, cgdelete" /bin/sh -c "cgcreate -g $own && cgset -r cpuset.cpus=4-7 -r cpuset.mems=1 own && cgexec -g $own /bin/true; cgdelete -g $own"
	else
		job "systemd-run --scope" "$(command -v systemd-run)" --quiet --scope -p AllowedCPUs=4-7 -p AllowedMemoryNodes=1 \
			/bin/true
	fi
} >"$vm_work/jobs"
"$build/tests/bench/times" "${RUNS:-21}" <"$vm_work/jobs" | sed "s/^/$VM_CGROUP\t/"
