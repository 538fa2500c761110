#!/bin/bash
# numastow run on NUMA nodes: where each policy puts pages, beside numactl; effective sets; exclusive CPUs; hugepages;
# what remains of it: nothing.
#
# usage: tests/vm/run v2|v2-systemd|v1 tests/vm/programs.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
touch=$vm_progs/touch
MiB=1024 # in kB

# hold NAME COMMAND... - a command that holds 64 MiB in the background: its process in $pid
hold()
{
	local name=$1

	shift
	"$@" "$touch" --hold 64 >"$vm_work/$name.out" 2>&1 &
	pid=$!
	has_touched()
	{
		grep -q touched "$vm_work/$name.out" || ! kill -0 "$pid" 2>/dev/null
	}
	eventually 20 has_touched
	check "$name runs" grep -q touched "$vm_work/$name.out" || cat "$vm_work/$name.out"
}

# stowed NAME OPTION... - the same with numastow run
stowed()
{
	local name=$1

	shift
	hold "$name" "$numastow" run --name "$name" "$@" --
}

# end NAME - the program ends by a signal that it handles, and gc takes everything back
end()
{
	local code=0

	kill "$pid"
	wait "$pid" || code=$?
	eq "$1: its exit code" "$code" 0
	check "$1: gc" "$numastow" gc --quiet
	eq "$1: the ledger is without it" "$(jq -r --arg id "$1" '[.containers[] | select(.id == $id)] | length' \
		<<<"$("$numastow" ledger --json)")" 0
	eq "$1: its cgroups are gone" "$(find /sys/fs/cgroup -type d \( -path "*/numastow/$1" -o -name "numastow-$1.scope" \))" ""
}

# where PID - "N0" and "N1" in MiB, rounded to 8
where()
{
	echo $((($(pages_on "$1" 0) + 4 * MiB) / MiB / 8 * 8))+$((($(pages_on "$1" 1) + 4 * MiB) / MiB / 8 * 8))
}

policy_of()
{
	sed -nE '/ anon=/ { s/^[^ ]+ //; s/ (file|anon|heap|stack)( |=).*//; p; q }' "/proc/$1/numa_maps"
}

cgroup_of()
{
	if [[ $VM_CGROUP == v1 ]]; then
		sed -n 's/^[0-9]*:cpuset://p' "/proc/$1/cgroup"
	else
		sed -n 's/^0:://p' "/proc/$1/cgroup"
	fi
}

### one node

stowed bound --nodes 1 --policy bind
eq "bind: CPUs and memory of node 1" "$(allowed_cpus "$pid")+$(allowed_mems "$pid")" 4-7+1
eq "bind: the pages are on node 1" "$(where "$pid")" 0+64
eq "bind: the policy" "$(policy_of "$pid")" bind:1
case $VM_CGROUP-$VM_INIT in
v2-systemd)
	eq "its cgroup is a scope" "$(cgroup_of "$pid")" /system.slice/numastow-bound.scope
	eq "systemd knows its sets" \
		"$(systemctl show -p AllowedCPUs -p AllowedMemoryNodes --value numastow-bound.scope | paste -sd+)" 4-7+1
	check "systemd writes them again" systemctl daemon-reload
	eq "and they stay" "$(allowed_cpus "$pid")+$(allowed_mems "$pid")" 4-7+1
	;;
*) eq "its cgroup is by libcgroup" "$(cgroup_of "$pid")" /numastow/bound ;;
esac
refuse "its name is its own" 'bound' "$numastow" run --name bound true
end bound

stowed plain --nodes 1
eq "without a policy: on node 1 by the cpuset" "$(where "$pid")+$(policy_of "$pid")" 0+64+default
end plain

stowed preferred --nodes 1 --policy preferred
eq "preferred: node 1, and others are allowed" "$(where "$pid")+$(policy_of "$pid")+$(allowed_mems "$pid")" \
	"0+64+prefer:1+0-1"
end preferred

stowed here --nodes 1 --policy local
eq "local: where it runs" "$(where "$pid")+$(policy_of "$pid")" 0+64+local
end here

### both nodes, and numactl beside

both=(--nodes 0-1 --cpus 8 --policy spread)
stowed spread "${both[@]}" --policy interleave
eq "interleave: half on each" "$(where "$pid")+$(policy_of "$pid")" 32+32+interleave:0-1
ours=$(where "$pid")
end spread
hold numactl numactl --interleave=0-1
eq "as numactl puts them" "$(where "$pid")" "$ours"
kill "$pid" && wait "$pid"

stowed many "${both[@]}" --policy preferred-many
eq "preferred-many: the policy" "$(policy_of "$pid")" "prefer (many):0-1"
end many

weights=/sys/kernel/mm/mempolicy/weighted_interleave
if [[ -e $weights/node0 ]]; then
	echo 1 >$weights/node0
	echo 3 >$weights/node1
	stowed weighted "${both[@]}" --policy weighted-interleave
	eq "weighted-interleave: by the weights" "$(where "$pid")+$(policy_of "$pid")" "16+48+weighted interleave:0-1"
	end weighted
	for words in "-w 0-1" "-w all" "--weighted-interleave=1,0"; do
		# shellcheck disable=SC2086 # words
		hold "numactl $words" "$numastow" numactl $words
		eq "numactl $words: by the weights" "$(where "$pid")+$(policy_of "$pid")" "16+48+weighted interleave:0-1"
		kill "$pid" && wait "$pid"
	done
	echo 2 >$weights/node0
	echo 2 >$weights/node1
	hold even "$numastow" numactl -w 0-1
	eq "numactl -w: by other weights" "$(where "$pid")" 32+32
	kill "$pid" && wait "$pid"
	echo 5 >$weights/node0
	echo 3 >$weights/node1
	# numactl 2.0.19 has -w, and prints "policy: [6]".
	eq "numactl -s tells policy and weights" "$("$numastow" numactl -w 0-1 "$numastow" numactl -s |
		sed -nE 's/ $//; /^(policy|interleave[mw])/p' | paste -sd ';')" \
		"policy: weighted-interleave;interleavemask: 0 1;interleaveweights: 5 3"
	if numactl -w 0-1 true 2>/dev/null; then
		hold ours "$numastow" numactl -w 0-1
		ours=$(where "$pid")
		kill "$pid" && wait "$pid"
		hold theirs numactl -w 0-1
		eq "numactl -w: as numactl puts them" "$(where "$pid")" "$ours"
		eq "which is 5 to 3" "$ours" 40+24
		kill "$pid" && wait "$pid"
	fi
else
	refuse "weighted-interleave: this kernel has none, and it is said" 'needs Linux 6.9' \
		"$numastow" run "${both[@]}" --policy weighted-interleave true
	check "and nothing is left of it" "$numastow" gc --quiet
	refuse "numactl -w: likewise" 'Linux 6.9' "$numastow" numactl -w 0-1 true
fi

### exclusive CPUs

want other --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
eq "a container on node 1" "$(cpus_of other)" 4-7
stowed own --nodes 1 --cpus 2 --exclusive --memory 256Mi
mine=$(allowed_cpus "$pid")
eq "two CPUs are the program's own" "$(jq -r '.containers[] | select(.id == "own") | .cpus' \
	<<<"$("$numastow" ledger --json)")" "$mine"
eq "no other container has them" "$(cpus_of other)" "$([[ $mine == 4-5 ]] && echo 6-7 || echo 4-5)"
all_as_promised "with a program that has CPUs of its own"
want late --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1
eq "nor one that starts later" "$(cpus_of late)" "$(cpus_of other)"
refuse "what does not fit is refused, with a way out" 'node 1 has.*; .* would fit' \
	"$numastow" run --nodes 1 --cpus 4 --exclusive true
check "why tells of the program" grep -q placed <<<"$("$numastow" why own)"
# The limit of memory is its own, too.
kill -0 "$pid" && end own
eq "the CPUs are everybody's again" "$(cpus_of other)" 4-7

# killed, with processes that go on
"$numastow" run --name family --nodes 1 --cpus 1 --exclusive -- sh -c 'sleep 1000 & echo $!; wait' >"$vm_work/family" &
pid=$!
eventually 20 test -s "$vm_work/family"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
"$numastow" gc --quiet
check "a program that was killed keeps its CPUs while a child runs" grep -q '"family"' <<<"$("$numastow" ledger --json)"
kill "$(<"$vm_work/family")"
given_back()
{
	"$numastow" gc --quiet
	! grep -q '"family"' <<<"$("$numastow" ledger --json)"
}
check "and then no more" eventually 20 given_back
stop other
stop late

### hugepages

# Another script in this guest may have set the pools.
set_pool 0 2048 0
set_pool 1 2048 0
"$numastow" run --name huge --nodes 1 --hugepages 64Mi -- \
	python3 -c 'import sys; x = bytearray(b"x") * (40 << 20); print("ready", flush=True); sys.stdin.read()' \
	< <(sleep 10000) >"$vm_work/huge" 2>&1 &
pid=$!
eventually 60 grep -q ready "$vm_work/huge"
eq "hugepages: node 1 has the pool" "$(pool 0 2048)+$(pool 1 2048)" 0+32
huge=$(awk '/ huge / && / N1=/ { for (i = 1; i <= NF; i++) if ($i ~ /^N1=/) n += substr($i, 4) } END { print n + 0 }' \
	"/proc/$pid/numa_maps")
within "hugepages: malloc has taken them" "$huge" 20 32
kill "$pid"
wait "$pid" 2>/dev/null
check "hugepages: gc" "$numastow" gc --quiet
eq "hugepages: the pool is as it was" "$(pool 0 2048)+$(pool 1 2048)" 0+0

### an instance on each node

# shellcheck disable=SC2016 # the program's own variable
"$numastow" run --each-node --name each sh -c 'echo $NUMASTOW_NODE: $(grep -h allowed_list /proc/self/status | cut -f2)' \
	>"$vm_work/each" 2>&1
eq "--each-node" "$(sort "$vm_work/each" | paste -sd ' ')" "0: 0-3 0 1: 4-7 1"
refuse "--each-node: all or none" 'node 1' "$numastow" run --each-node --cpus 5 sh -c "echo >>$vm_work/started"
check "none has started" test ! -e "$vm_work/started"
check "and gc finds no cgroup in use" "$numastow" gc --quiet

### others

if [[ $VM_CGROUP-$VM_INIT == v2-systemd ]]; then
	systemctl set-property --runtime narrow.slice AllowedCPUs=0-1
	systemctl start narrow.slice
	refuse "a slice that allows less is respected" 'cannot place|in effect' \
		"$numastow" run --slice narrow.slice --nodes 1 --cpus 2 true
	check "and what it allows is used" "$numastow" run --slice narrow.slice --nodes 0 --cpus 2 \
		grep -qE '^Cpus_allowed_list:.0-1$' /proc/self/status
	# The scope is made for the first plan, on node 0.
	systemctl set-property --runtime far.slice AllowedCPUs=4-5
	systemctl start far.slice
	stowed far --slice far.slice --cpus 2
	eq "a slice with other CPUs than the plan" "$(allowed_cpus "$pid")+$(allowed_mems "$pid")" 4-5+1
	eq "systemd knows what came of it" \
		"$(systemctl show -p AllowedCPUs -p AllowedMemoryNodes --value numastow-far.scope | paste -sd+)" 4-7+1
	end far
	check "a program starts under strace" strace -f -e trace=execve -o "$vm_work/trace" "$numastow" run --nodes 1 true
	eq "systemd was asked once, by the program itself" "$(grep -c numastow-scope "$vm_work/trace")" 0
	check "gc" "$numastow" gc --quiet
fi
stranger=(setpriv --reuid=65534 --regid=65534 --clear-groups)
bin=$vm_work/bin
mkdir -p "$bin"
cp "$numastow" "$programs/numastow-run" "$bin"
chmod 755 "$vm_work" "$bin"
before=$("$numastow" ledger --json | md5sum)
hold stranger "${stranger[@]}" "$bin/numastow" run --quiet --nodes 1 --name bound --
eq "without root: affinity and pages" "$(allowed_cpus "$pid")+$(where "$pid")" 4-7+0+64
eq "without root: no grant" "$("$numastow" ledger --json | md5sum)" "$before"
kill "$pid" && wait "$pid"
# shellcheck disable=SC2016 # its own process
refuse "a program of another user does not leave its cgroup" 'ermission denied' \
	"$numastow" run --user nobody --name caged sh -c 'echo $$ >/sys/fs/cgroup/cgroup.procs || echo $$ >/sys/fs/cgroup/cpuset/cgroup.procs'

given_all()
{
	"$numastow" gc --quiet
	[[ $("$numastow" ledger --json | jq '.containers | length') == 0 ]]
}
check "at the end everything is given back" eventually 20 given_all
eq "and no cgroup is left" "$(find /sys/fs/cgroup -mindepth 2 -type d -path '*/numastow/*')" ""
vm_summary
