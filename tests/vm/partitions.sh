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
	eq "$1: the ledger shows it" "$(partition "$2")" '{"valid":true,"reason":null}'
	check "$1: so does why" grep -q "are a valid cpuset partition" <("$numastow" why "$2")
}

# permitted COMMAND - the capabilities that the hook has kept when it waits for its input, in effect or not
permitted()
{
	local pid fd
	mkfifo "$vm_work/input"
	"$HOOK" "$1" <"$vm_work/input" &
	pid=$!
	exec {fd}>"$vm_work/input"
	rm "$vm_work/input"
	asleep()
	{
		grep -q '^State:.S' "/proc/$pid/status" && [[ $(readlink "/proc/$pid/exe") == */numastow-hook ]]
	}
	eventually 20 asleep
	sed -nE 's/^Cap(Prm|Eff):.0*//p' "/proc/$pid/status" | paste -sd ' '
	kill "$pid"
	wait "$pid" 2>/dev/null
	exec {fd}>&-
}

# The topmost cgroup has this file since the same Linux as the others have cpuset.cpus.exclusive.
if [[ ! -e $top/cpuset.cpus.isolated ]]; then
	check "a container starts without partitions" start plain "${isolated[@]}"
	eq "its CPUs are its own" "$(ledger | jq -r '.containers[0].exclusive')" true
	check "why says that the kernel has none" grep -q "no cpuset partition.*this kernel has no cpuset.cpus.exclusive" \
		<("$numastow" why plain)
	eq "in one line at its start" "$("$numastow" why plain | grep -v "^now:" | grep -c "no cpuset partition")" 1
	eq "gc does not say it again" "$("$numastow" gc --quiet 2>&1)" ""
	[[ -d /run/systemd/system ]] ||
		eq "the hook has no CAP_SYS_ADMIN" "$(permitted apply)" "800002 800002"
	stop plain
	vm_summary
fi

### the capability that the kernel asks for

if [[ ! -d /run/systemd/system ]]; then
	eq "apply keeps CAP_SYS_ADMIN, out of effect" "$(permitted apply)" "a00002 800002"
	eq "release has none" "$(permitted release)" "800002 800002"
	echo 'partitions: no' >/etc/numastow/config.yaml
	eq "nor has apply where no partitions are wanted" "$(permitted apply)" "800002 800002"
	mv /etc/numastow/config.yaml /etc/numastow/aside
	eq "nor without a configuration" "$(permitted apply)" "800002 800002"
	echo 'partitions: yes' >/etc/numastow/config.yaml
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
free=$(cpus_of plain)
check "one with a set that does not overlap starts" start set --cpuset-cpus "${free##*[-,]}"
check "gc has nothing to say" test -z "$("$numastow" gc --quiet 2>&1)"
is_partition "beside others" one
eq "no warning by the kernel" "$(warnings)" 0

### one of its CPUs goes and comes

off=${first##*[-,]}
offline "$off"
"$numastow" gc --quiet
eq "with a CPU off it is still one" "$(<"$(cgroup one)/cpuset.cpus.partition")" isolated
eq "and known as valid" "$(partition one)" '{"valid":true,"reason":null}'
online "$off"
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

### a container that makes partitions of its own CPUs

inside=$(cgroup one)
mkdir "$inside/in" "$inside/part"
for process in $(<"$inside/cgroup.procs"); do
	echo "$process" >"$inside/in/cgroup.procs"
done
echo +cpuset >"$inside/cgroup.subtree_control"
echo "$off" >"$inside/part/cpuset.cpus"
echo "$off" >"$inside/part/cpuset.cpus.exclusive"
echo root >"$inside/part/cpuset.cpus.partition"
eq "below its cgroup there is one" "$(<"$inside/part/cpuset.cpus.partition")" root
check "which takes its CPU away" test "$(<"$inside/cpuset.cpus.effective")" != "$first"
eq "gc has nothing to say" "$("$numastow" gc --quiet 2>&1)" ""
eq "nor has it touched it" "$(<"$inside/part/cpuset.cpus.partition")" root
eq "the container's is valid" "$(partition one)" '{"valid":true,"reason":null}'
check "another isolated one starts" start beside "${isolated[@]}"
is_partition "beside it" beside
stop beside
check "one with a set of its own over all CPUs below its cgroup" start nested
mkdir "$(cgroup nested)/deep"
nested=$(cgroup nested)
for process in $(<"$nested/cgroup.procs"); do
	echo "$process" >"$nested/deep/cgroup.procs"
done
echo +cpuset >"$nested/cgroup.subtree_control"
echo 0-7 >"$nested/deep/cpuset.cpus"
echo 0-7 >"$nested/deep/cpuset.cpus.exclusive"
echo isolated >"$nested/deep/cpuset.cpus.partition"
check "gets no partition" grep -q invalid "$nested/deep/cpuset.cpus.partition"
eq "and does not touch the others'" "$(<"$inside/cpuset.cpus.partition")" isolated
eq "its process stays off their CPUs" "$(allowed_cpus "$(container_pid nested)")" "$(<"$nested/cpuset.cpus.effective")"
stop nested
echo member >"$inside/part/cpuset.cpus.partition"
rmdir "$inside/part"
echo -cpuset >"$inside/cgroup.subtree_control"
for process in $(<"$inside/in/cgroup.procs"); do
	echo "$process" >"$inside/cgroup.procs"
done
rmdir "$inside/in"
is_partition "the first, whole again" one
eq "and no warning" "$(warnings)" 0

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
# With systemd its cgroup is in a unit of its own: the other one is not beside it.
if [[ $(dirname "$(cgroup late)") == "$(dirname "$other")" ]]; then
	eq "is no partition" "$(<"$(cgroup late)/cpuset.cpus.partition")" member
	check "and why says so" grep -q "no cpuset partition" <("$numastow" why late)
else
	is_partition "beside a unit that has an invalid one" late
fi
eq "nor does that" "$(warnings)" "$seen"
rmdir "$other"
refused=$(setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin "$numastow" gc --quiet 2>&1)
check "without CAP_SYS_ADMIN gc says what it needs" grep -q "no cpuset partition: .*CAP_SYS_ADMIN" <<<"$refused"
eq "and writes nothing" "$(<"$(cgroup one)/cpuset.cpus.partition")" member
check "with that gone, gc says nothing" test -z "$("$numastow" gc --quiet 2>&1)"
echo "# warnings: $(warnings)"
is_partition "put right" one
is_partition "made later" late

### a configuration that is broken, and one that wants none

echo 'partitions: [' >/etc/numastow/config.yaml
"$numastow" gc --quiet 2>/dev/null
eq "a broken configuration takes nothing back" "$(<"$(cgroup one)/cpuset.cpus.partition")" isolated
echo 'partitions: no' >/etc/numastow/config.yaml
check "gc, without partitions and without CAP_SYS_ADMIN" \
	setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin "$numastow" gc --quiet
eq "the container is none" "$(<"$(cgroup one)/cpuset.cpus.partition")" member
eq "nothing is exclusive" "$(written)" ""
echo 'partitions: yes' >/etc/numastow/config.yaml
check "gc, with them" "$numastow" gc --quiet
is_partition "once more" one

### the hook, killed at its writes

hook=$HOOK
unset HOOK
check "a container without a hook" start victim "${isolated[@]}"
victim=$(cgroup victim)
others=$(written)
state=$(state victim)
killed=0
exec 3>&2 2>/dev/null # bash tells of every death
# Bounded: an apply that is refused fails at every write.
for ((at = 1; at < 400; at += ${STEP:-1})); do
	strace -qq -o /dev/null -e trace=write -e inject=write:signal=KILL:when="$at" "$hook" apply <<<"$state" && break
	killed=$((killed + 1))
	"$numastow" gc --quiet >/dev/null
	if [[ $(ledger | jq -c '[.containers[].id]') == *victim* ]]; then # behind the commit
		"$numastow" restore victim >/dev/null
	fi
	if [[ $(written) != "$others" || $(<"$victim/cpuset.cpus.partition") != member ||
		$(<"$victim/cpuset.cpus.exclusive") ]]; then
		fail "killed at write $at" "left: $(written), $(<"$victim/cpuset.cpus.partition")"
	fi
done
exec 2>&3 3>&-
echo "# killed $killed times"
within "it was killed at many of its writes" $killed 2 100
is_partition "not killed" victim
stop victim
"$numastow" gc --quiet
eq "its end leaves the others'" "$(written)" "$others"
HOOK=$hook

stop one
stop late
eq "nothing is left" "$(written)" ""
eq "no CPU is isolated" "$(<$top/cpuset.cpus.isolated)" ""

vm_summary
