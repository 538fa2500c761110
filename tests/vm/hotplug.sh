#!/bin/bash
# CPUs and memory blocks go offline and come back while containers start and end, without an agent, and while they are
# repinned, too, with one: in each round all of it at once. A container is refused only because there is no room, and
# after each round every thread runs where the ledger says. (storm.sh has the same at random, beside kills and drains, and
# looks at every moment.)
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun [--env BRIEF=1] v1|v2|v2-systemd tests/vm/hotplug.sh
#
# BRIEF: four rounds instead of twelve.
#
# shellcheck disable=SC2154,SC2317 # set in drain-lib.sh; called by names in variables, and by eventually
# shellcheck source-path=SCRIPTDIR source=drain-lib.sh
. "$(dirname "$0")/drain-lib.sh"

rounds=${BRIEF:+4}
rounds=${rounds:-12}
RANDOM=${SEED:-$$}
echo "# seed: ${SEED:-$$}"

# What a container or a repin may be refused for while CPUs are away: too few are left, of what was asked for.
no_room='cannot place|[0-9] free|are offline|is being repinned|already'

going()
{
	[[ ! -e $vm_work/enough ]]
}

# cpus - one to three at a time, until it is enough; CPU 0 cannot go, and each node keeps one
cpus()
{
	local cpu some

	while going; do
		mapfile -t some < <(printf '%s\n' 1 2 3 5 6 7 | shuf -n $((1 + RANDOM % 3)))
		for cpu in "${some[@]}"; do
			echo 0 >"/sys/devices/system/cpu/cpu$cpu/online" && echo cpu >>"$vm_work/went"
		done
		for cpu in "${some[@]}"; do
			echo 1 >"/sys/devices/system/cpu/cpu$cpu/online"
		done
	done
}

# blocks - those of the DIMM, one after the other; the kernel may find one busy
blocks()
{
	local block

	while going; do
		for ((block = dimm_first; block < dimm_first + dimm_n; block++)); do
			echo offline >"$memory/memory$block/state" && echo block >>"$vm_work/went"
			echo online_movable >"$memory/memory$block/state"
		done 2>/dev/null
	done
}

# refused_rightly WHAT REASON - a refusal for want of room is none of this test's; any other one is
refused_rightly()
{
	grep -qE "$no_room" <<<"$2" || echo "$1: $2" >>"$vm_work/wrong"
	echo refused >>"$vm_work/done"
}

# again ID - start a container whose bundle is there, and remove it
again()
{
	if runtime run --detach --pid-file "$vm_work/bundle/$1/pid" --bundle "$vm_work/bundle/$1" "$1" \
		>"$vm_work/$1.out" 2>&1 </dev/null; then
		echo started >>"$vm_work/done"
	else
		refused_rightly "$1" "$(said "$1") $("$numastow" why "$1")"
	fi
}

repin()
{
	local out

	if out=$("$numastow" repin "$1" --to "$2" 2>&1); then
		echo repinned >>"$vm_work/done"
	else
		refused_rightly "repin $1" "$out"
	fi
}

# without an agent: the kernel follows a CPU that came back with a worker of its own, also after gc
settled()
{
	"$numastow" gc >"$vm_work/gc.out" 2>&1 && "$vm_checker" --wait 0 >"$vm_work/check.out" 2>&1
}

# round NUMBER [AGENT] - AGENT: one runs
round()
{
	local busy=() what

	rm -f "$vm_work/enough" "$vm_work/went"
	for what in cpus blocks; do
		$what &
		busy+=($!)
	done
	[[ ! ${2:-} ]] || repin mover $(($1 % 2)) &
	busy+=($!)
	for what in own shared bare; do
		again "$what"
	done
	[[ ! ${2:-} ]] || repin single $(($1 % 2))
	runtime delete --force own >/dev/null 2>&1
	again own
	for what in own shared bare; do
		runtime delete --force "$what" >/dev/null 2>&1
	done
	wait "${busy[2]}"
	went()
	{
		[[ $(sort -u "$vm_work/went" 2>/dev/null | paste -sd ,) == block,cpu ]]
	}
	check "round $1: CPUs and memory blocks went" eventually 30 went
	touch "$vm_work/enough"
	wait "${busy[@]:0:2}"
	if [[ ${2:-} ]]; then
		all_as_promised "round $1" 120
	else
		check "round $1: after gc every thread runs where the ledger says" eventually 30 settled ||
			sed 's/^/# /' "$vm_work/gc.out" "$vm_work/check.out"
	fi
}

one=(--annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0-1)
exclusive=(--annotation numastow.io/cpu-mode=exclusive)
echo 0 >/proc/sys/kernel/numa_balancing
dimm_online hotplug 256 1 movable
want plain
want mover --args "touch-memory --hold 32" "${one[@]}"
want single "${one[@]}" "${exclusive[@]}"
bundle own "${exclusive[@]}" --annotation numastow.io/cpus=2 --annotation numastow.io/memory=32Mi >/dev/null
bundle shared --annotation numastow.io/cpus=2 --annotation numastow.io/hugepages-2Mi=4Mi >/dev/null
bundle bare >/dev/null

for ((i = 1; i <= rounds / 2; i++)); do
	round "$i"
done
start_agent
for (( ; i <= rounds; i++)); do
	round "$i" agent
done
kill "$agent"
wait "$agent"
eq "nothing was refused but for want of room" "$(cat "$vm_work/wrong" 2>/dev/null)" ""
for what in started repinned; do
	check "some were $what" grep -q "$what" "$vm_work/done"
done
sort "$vm_work/done" | uniq -c | sed 's/^/# /'
nothing_else()
{
	"$numastow" gc >"$vm_work/gc.out" 2>&1
	left=$("$numastow" ledger --json | jq -c '[([.containers[].id] | sort), .pools]')
	[[ $left == '[["mover","single"],[]]' ]]
}
check "nothing is left of those that ended" eventually 30 nothing_else ||
	{ echo "# $left"; grep -H . /sys/devices/system/node/node*/hugepages/hugepages-2048kB/*; cat "$vm_work/gc.out"; } | sed 's/^/# /'
stop single
stop mover
check "gc" "$numastow" gc
eq "the last one has all CPUs" "$(cpus_of plain)" 0-7

vm_summary
