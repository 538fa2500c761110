#!/bin/bash
# With `partitions: yes`, CPUs of cpu-mode isolated are a cpuset partition: made, kept, put right after another
# cgroup has overlapped, and taken back. Where the kernel has no partitions of that kind, they are exclusive CPUs.
#
# usage: tests/vm/run [--release other] --env VM_RUNTIME=runc|crun v2|v2-systemd tests/vm/partitions.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
isolated=(--annotation numastow.io/cpus=2 --annotation numastow.io/cpu-mode=isolated)
top=/sys/fs/cgroup

mkdir -p /etc/numastow
echo 'partitions: yes' >/etc/numastow/config.yaml

# cgroup ID - its directory
cgroup()
{
	sed -n "s|^0::|$top|p" "/proc/$(container_pid "$1")/cgroup"
}

# warnings - how many the kernel has written about cpusets
warnings()
{
	dmesg | grep -c 'WARNING: .*cpuset'
}

# partition ID - what the ledger's JSON says of it
partition()
{
	"$numastow" ledger --json | jq -c --arg id "$1" '.containers[] | select(.id == $id) | .partition'
}

# written - everything that any cpuset.cpus.exclusive has, in a line
written()
{
	find "$top" -name cpuset.cpus.exclusive -exec cat {} + | sort -u | paste -sd ' ' | xargs
}

# is_partition NAME ID - the kernel's three read-backs, and what people are told
is_partition()
{
	local dir cpus
	dir=$(cgroup "$2")
	cpus=$("$numastow" ledger --json | jq -r --arg id "$2" '.containers[] | select(.id == $id) | .cpus')
	eq "$1: the kernel says so" "$(<"$dir/cpuset.cpus.partition")" isolated
	eq "$1: with its CPUs" "$(<"$dir/cpuset.cpus.effective")" "$cpus"
	eq "$1: the process runs there" "$(allowed_cpus "$(container_pid "$2")")" "$cpus"
	eq "$1: the ledger shows it" "$(partition "$2")" '{"valid":true,"reason":""}'
	check "$1: so does why" grep -q "are a valid cpuset partition" <("$numastow" why "$2")
}

# The topmost cgroup has this file since the same Linux as the others have cpuset.cpus.exclusive.
if [[ ! -e $top/cpuset.cpus.isolated ]]; then
	check "a container starts without partitions" start plain "${isolated[@]}"
	eq "its CPUs are its own" "$(ledger | jq -r '.containers[0].exclusive')" true
	check "why says that the kernel has none" grep -q "no cpuset partition.*this kernel has no cpuset.cpus.exclusive" \
		<("$numastow" why plain)
	eq "gc does not say it again" "$("$numastow" gc --quiet 2>&1)" ""
	vm_summary
fi

### made

check "an isolated container starts" start one "${isolated[@]}"
is_partition "the first" one
first=$(<"$(cgroup one)/cpuset.cpus.effective")
eq "the machine's isolated CPUs are its own" "$(<$top/cpuset.cpus.isolated)" "$first"
check "a second one starts" start two "${isolated[@]}"
is_partition "the second" two
is_partition "the first, beside it" one
check "a shared one starts" start shared --annotation numastow.io/cpus=2
check "one without annotations starts" start plain
check "one with a set that does not overlap starts" start set --cpuset-cpus 7
check "gc has nothing to say" test -z "$("$numastow" gc --quiet 2>&1)"
is_partition "beside others" one
eq "no warning by the kernel" "$(warnings)" 0

### one of its CPUs goes and comes

off=${first##*[-,]}
echo 0 >"/sys/devices/system/cpu/cpu$off/online"
"$numastow" gc --quiet
eq "with a CPU off it is still one" "$(<"$(cgroup one)/cpuset.cpus.partition")" isolated
eq "and known as valid" "$(partition one)" '{"valid":true,"reason":""}'
echo 1 >"/sys/devices/system/cpu/cpu$off/online"
"$numastow" gc --quiet
is_partition "with the CPU back" one

### taken back

stop two
eq "the second's end leaves the first's" "$(written)" "$first"
is_partition "the first, alone" one
check "a third one starts" start three "${isolated[@]}"
third=$(cgroup three)
check "it is restored while it runs" "$numastow" restore three
eq "it is no partition any more" "$(<"$third/cpuset.cpus.partition")" member
eq "and has nothing exclusive" "$(<"$third/cpuset.cpus.exclusive")" ""
eq "the first's are left" "$(written)" "$first"
is_partition "the first, after a restore" one
stop three
eq "still no warning" "$(warnings)" 0

### overlapped

announce_warning 'kernel/cgroup/cpuset'

check "another cgroup" mkdir "$(dirname "$(cgroup one)")/other"
other=$(dirname "$(cgroup one)")/other
echo 0-7 >"$other/cpuset.cpus"
check "overlapping makes it invalid" grep -q invalid "$(cgroup one)/cpuset.cpus.partition"
echo "# the kernel says: $(<"$(cgroup one)/cpuset.cpus.partition"); warnings: $(warnings)"
said=$("$numastow" gc --quiet 2>&1)
seen=$(warnings)
echo "# warnings after gc: $seen"
check "a second gc says the same" grep -q "no cpuset partition" <("$numastow" gc --quiet 2>&1)
check "gc names what overlaps" grep -q "no cpuset partition: cgroup .*/other beside it has cpuset.cpus 0-7" <<<"$said"
check "so does why" grep -q "no cpuset partition: cgroup .*/other beside it" <("$numastow" why one)
eq "the ledger shows it" "$(partition one | jq -c .valid)" false
eq "it keeps its CPUs" "$(allowed_cpus "$(container_pid one)")" "$first"
eq "looking makes no warning" "$(warnings)" "$seen"
check "one that starts now" start late "${isolated[@]}"
eq "is no partition" "$(<"$(cgroup late)/cpuset.cpus.partition")" member
check "and why says so" grep -q "no cpuset partition" <("$numastow" why late)
eq "nor does that" "$(warnings)" "$seen"
rmdir "$other"
check "with that gone, gc says nothing" test -z "$("$numastow" gc --quiet 2>&1)"
echo "# warnings: $(warnings)"
is_partition "put right" one
is_partition "made later" late

### a configuration that is broken, and one that wants none

echo 'partitions: [' >/etc/numastow/config.yaml
"$numastow" gc --quiet 2>/dev/null
eq "a broken configuration takes nothing back" "$(<"$(cgroup one)/cpuset.cpus.partition")" isolated
echo 'partitions: no' >/etc/numastow/config.yaml
check "gc, without partitions" "$numastow" gc --quiet
eq "the container is none" "$(<"$(cgroup one)/cpuset.cpus.partition")" member
eq "nothing is exclusive" "$(written)" ""
echo 'partitions: yes' >/etc/numastow/config.yaml
check "gc, with them" "$numastow" gc --quiet
is_partition "once more" one

stop one
stop late
eq "nothing is left" "$(written)" ""
eq "no CPU is isolated" "$(<$top/cpuset.cpus.isolated)" ""

vm_summary
