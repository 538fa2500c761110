#!/bin/bash
# Measures how long it takes to start a program with numastow run, beside systemd-run --scope (v2) and cgexec (v1).
#
# usage: tests/bench/run-vm.sh [RUNS]            boots one machine after the other, and prints the table
#
# Medians of interleaved starts of /bin/true. Emulation slows down the kernel and programs alike, so the ratios are
# meaningful, but the milliseconds are not. systemd-run and cgexec get a CPU set, too, but plan nothing and keep no ledger.
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")

if [[ ! ${NUMASTOW_VM:-} ]]; then
	for shape in v2-systemd v1; do
		"$root/tests/vm/run" --timeout 900 --quiet --env RUNS="${1:-21}" --env NUMASTOW_PROGRAMS "$shape" "$here/run-vm.sh" || exit
	done
	exit 0
fi

# shellcheck source=../vm/lib.sh disable=SC2154
. "$root/tests/vm/lib.sh"
numastow=${NUMASTOW_PROGRAMS:-$root/build/release}/numastow

# once COMMAND... - microseconds
once()
{
	local start=${EPOCHREALTIME/./}

	"$@" >/dev/null || echo "failed: $*" >&2
	echo $((${EPOCHREALTIME/./} - start))
}

declare -A commands=(
	[plain]="/bin/true"
	["numastow run"]="$numastow run --nodes 1 --cpus 1 -- /bin/true"
	["numastow run, exclusive"]="$numastow run --nodes 1 --cpus 1 --exclusive -- /bin/true"
)
if [[ $VM_CGROUP == v1 ]]; then
	mkdir -p /sys/fs/cgroup/{cpuset,memory}/bench
	echo 4-7 >/sys/fs/cgroup/cpuset/bench/cpuset.cpus
	echo 1 >/sys/fs/cgroup/cpuset/bench/cpuset.mems
	commands[cgexec]="cgexec -g cpuset,memory:bench /bin/true"
else
	commands[systemd-run]="systemd-run --quiet --scope -p AllowedCPUs=4-7 -p AllowedMemoryNodes=1 /bin/true"
fi
# shellcheck disable=SC2154 # set in lib.sh
for ((i = 0; i < ${RUNS:-21}; i++)); do
	for name in "${!commands[@]}"; do
		# shellcheck disable=SC2086 # words
		echo "$(once ${commands[$name]}) $name"
		# As the agent does: else the next start reclaims what this program had.
		"$numastow" gc --quiet
	done
done >"$vm_work/times"
for name in "${!commands[@]}"; do
	grep " $name\$" "$vm_work/times" | sort -n | awk -v shape="$VM_CGROUP" -v name="$name" '
		{ t[NR] = $1 } END { printf "%-4s %-26s %8.1f ms\n", shape, name, t[int((NR + 1) / 2)] / 1000 }'
done | sort -k 1
