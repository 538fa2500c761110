# shellcheck shell=bash
# Functions of the drain scripts: DIMMs are plugged and removed, daemons and a hypervisor are started, and the machine's
# state is compared.
# shellcheck disable=SC2317,SC2119,SC2120,SC2034 # functions are called by check and eventually; some options are for a few
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
export HOOK=$programs/numastow-hook
memory=/sys/devices/system/memory
Mi=$((1 << 20))

### the programs

# start_scheduler [OPTION...] - start a scheduler whose webhooks go to the hypervisor
start_scheduler()
{
	: >"$vm_work/scheduler.log"
	"$programs/numastow-scheduler" --data "$vm_work/scheduler" --metrics '' --stale-after 15s \
		--webhook http://127.0.0.1:8900/numastow --webhook-secret "$vm_work/secret" --webhook-retry 200ms "$@" \
		>>"$vm_work/scheduler.log" 2>&1 &
	export scheduler=$!
	eventually 30 grep -q 'is active' "$vm_work/scheduler.log" || fail "the scheduler starts" "$(<"$vm_work/scheduler.log")"
}

# start_agent [OPTION...] - start an agent, without a scheduler unless an option names one; its log begins anew
start_agent()
{
	: >"$vm_work/agent.log"
	"$programs/numastow-agent" --node m1 --metrics '' --gc-interval 5s --max-drain 100 \
		--drain-block-timeout 60s "$@" \
		>>"$vm_work/agent.log" 2>&1 &
	export agent=$!
	eventually 30 grep -q 'is ready' "$vm_work/agent.log" || fail "the agent starts" "$(<"$vm_work/agent.log")"
}

# start_hypervisor [OPTION...] - start the hypervisor, which takes over QEMU's port; qmp goes through it from then on
start_hypervisor()
{
	[[ -e $vm_work/secret ]] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$vm_work/secret"
	rm -f "$vm_work/hypervisor"
	: >"$vm_work/hypervisor.log"
	python3 "$vm_dir/hypervisor.py" serve --control "$vm_work/hypervisor" --log "$vm_work/hypervisor.log" \
		--port 8900 --secret "$vm_work/secret" "$@" &
	export hypervisor=$!
	export VM_HYPERVISOR=$vm_work/hypervisor
	eventually 30 grep -q '"ready"' "$vm_work/hypervisor.log" || fail "the hypervisor starts"
}

hypervisor()
{
	python3 "$vm_dir/hypervisor.py" tell "$VM_HYPERVISOR" "$@" >/dev/null
}

# hypervisor_did FILTER - print the entries of its log that the jq filter selects, one per line
hypervisor_did()
{
	jq -c "select($1)" "$vm_work/hypervisor.log"
}

# webhooks DRAIN - print the events that the hypervisor accepted for that drain, each once, in order
webhooks()
{
	hypervisor_did ".did == \"webhook\" and .status == 200 and .body.drain == \"$1\"" | jq -r .event |
		awk '!seen[$0]++' | paste -sd ' '
}

### the machine's state

# snapshot - print all state that a drain which was undone must not have changed. Without jq, which takes a second to
# start under emulation.
snapshot()
{
	grep -H . $memory/memory*/state $memory/memory*/valid_zones | sed "s,^$memory/,," | sort -V
	grep -H . /sys/devices/system/node/node*/hugepages/hugepages-*/nr_hugepages
	echo "fenced: $(fenced)"
	# Grants must stay, and the drain's own rows must go.
	"$numastow" ledger --json | grep -oE '"(id|state|mems|cpus|pool|pages)": *("[^"]*"|[0-9]+)'
}

# fenced - print the fenced NUMA nodes of this machine, as in "0 1"
fenced()
{
	"$numastow" topology --json | tr -d ' \n' | grep -oE '"id":[0-9]+,"cpus"|"fenced":true' |
		awk -F'[:,]' '/fenced/ { print id } { id = $2 }' | xargs
}

# fleet_node FILTER [NAME] - apply a jq filter to a machine (m1) as the scheduler reports it
fleet_node()
{
	"$numastow" nodes --json | jq -r ".nodes[] | select(.report.name == \"${2:-m1}\") | ($1) // \"\""
}

# unchanged NAME BEFORE - check that the machine becomes equal to the snapshot BEFORE
unchanged()
{
	local now
	same()
	{
		now=$(snapshot)
		[[ $now == "$1" ]]
	}
	if eventually 10 same "$2"; then
		ok "$1"
	else
		fail "$1" "$(diff <(echo "$2") <(echo "$now"))"
		return 1
	fi
}

# no_drain NAME - check that no drain is under way and that none has left anything behind
no_drain()
{
	local said
	gone()
	{
		said=$("$numastow" drains --json 2>&1) && [[ $(jq '[.drains[] | select(.progress.step | IN("done", "partial", "failed", "cancelled") | not)] | length' <<<"$said" 2>/dev/null) == 0 ]]
	}
	if eventually 20 gone; then
		ok "$1"
	else
		fail "$1" "$said"
		return 1
	fi
}

### DIMMs

# device_at ADDRESS - print numastow's name of the memory device that begins at the address
device_at()
{
	"$numastow" blocks --json | jq -r --arg start "$(printf '0x%016x' "$1")" \
		'.devices[] | select(.range | startswith($start)) | .name'
}

# dimm_online ID MIB NODE ZONE - plug a DIMM and bring all of it online. Sets
#   dimm_blocks (list format)   dimm_first, dimm_n   dimm_device (numastow's name)
dimm_online()
{
	local id=$1 mib=$2 node=$3 zone=$4 address size
	there()
	{
		[[ $(dimm_ids "$1" | wc -l) == "$2" ]]
	}

	dimm_add "$id" "$mib" "$node" >/dev/null || fail "DIMM $id is plugged"
	size=$((16#$(<$memory/block_size_bytes)))
	dimm_n=$((mib * Mi / size))
	address=$(qmp query-memory-devices | jq ".[] | select(.data.id == \"$id\") | .data.addr")
	dimm_first=$((address / size))
	dimm_blocks=$dimm_first-$((dimm_first + dimm_n - 1))
	((dimm_n > 1)) || dimm_blocks=$dimm_first
	eventually 20 there "$dimm_first" "$dimm_n" || fail "the blocks of $id appear" "$(ls $memory)"
	"$numastow" online --zone "$zone" "$dimm_blocks" >"$vm_work/online.out" 2>&1 ||
		fail "the blocks of $id go online" "$(<"$vm_work/online.out")"
	dimm_device=$(device_at "$address")
}

# dimm_ids FIRST - print the present blocks of the DIMM that begins there and has dimm_n blocks
dimm_ids()
{
	local i
	for ((i = $1; i < $1 + dimm_n; i++)); do
		[[ ! -e $memory/memory$i ]] || echo "$i"
	done
}

# dimm_states - how many of the last DIMM's blocks are in which state: "8 online", "3 offline 5 online", "" when gone
dimm_states()
{
	local i
	for i in $(dimm_ids "$dimm_first"); do
		cat "$memory/memory$i/state" 2>/dev/null
	done | sort | uniq -c | xargs
}

dimm_gone()
{
	[[ ! $(dimm_states) ]]
}

### drains

# drain [ARGUMENT...] - run a drain, and return its exit code; its progress is in drain.out, as JSON, other output in
# drain.err. The time limit of a block is generous: emulated machines are slow.
drain()
{
	local -a more=()
	[[ $* == *--block-timeout* ]] || more=(--block-timeout 60s)
	"$numastow" drain --json "$@" "${more[@]}" >"$vm_work/drain.out" 2>"$vm_work/drain.err" </dev/null
}

# drain_said FILTER - apply a jq filter to the last message of progress
drain_said()
{
	tail -n 1 "$vm_work/drain.out" | jq -r "$1"
}

drain_steps()
{
	jq -r .step "$vm_work/drain.out" | uniq | paste -sd ' '
}

# drain_log - print everything that explains a failed drain
drain_log()
{
	echo "exit code $1; steps: $(drain_steps)"
	tail -n 3 "$vm_work/drain.out" | cut -c1-1500
	cat "$vm_work/drain.err"
	tail -n 8 "$vm_work/agent.log" "$vm_work/scheduler.log" 2>/dev/null
}

# drains_to NAME EXIT-CODE STEP [ARGUMENT...] - run a drain, which must end with this code and in this step
drains_to()
{
	local name=$1 want=$2 step=$3 rc=0
	shift 3
	drain "$@" || rc=$?
	if ((rc == want)) && [[ $(drain_said .step) == "$step" ]]; then
		ok "$name"
	else
		fail "$name" "numastow drain $*, want $want $step" "$(drain_log $rc)"
		return 1
	fi
}

# refused NAME PATTERN SNAPSHOT [ARGUMENT...] - check that the drain is refused with one line that matches, and that
# nothing changes. ${as[@]} is put before the command.
as=()
refused()
{
	local name=$1 pattern=$2 before=$3 rc=0 said
	shift 3
	said=$("${as[@]}" "$numastow" drain "$@" 2>&1 >"$vm_work/drain.out" </dev/null) || rc=$?
	if ((rc == 0 || rc > 2)); then
		fail "$name" "numastow drain $* -> $rc" "$said" "$(tail -n 3 "$vm_work/drain.out")"
	elif [[ $rc == 1 && $said == *$'\n'* ]]; then
		fail "$name" "more than one line:" "$said"
	elif ! grep -Eq -e "$pattern" <<<"$said"; then
		fail "$name" "nothing like '$pattern':" "$said"
	elif [[ $(snapshot) != "$before" ]]; then
		fail "$name" "changed:" "$(diff <(echo "$before") <(snapshot))"
	else
		ok "$name"
		echo "#   $(tail -n 1 <<<"$said")"
	fi
}

### programs that run during a drain

# data_disk - mount a file system on /data of every container: files in a tmpfs are not page cache
data_disk()
{
	modprobe -a loop ext4
	truncate -s "${1:-256M}" "$vm_work/disk"
	mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 "$vm_work/disk" &&
		mount -o loop "$vm_work/disk" "$(vm_rootfs)/data" &&
		chmod 777 "$(vm_rootfs)/data"
}

# hold ID "HOLDER'S ARGUMENTS" [OPTION...] - start a container that runs holder; sets pid
hold()
{
	local id=$1 args=$2 dir
	shift 2
	dir=$(bundle "$id" --args "holder $args" "$@") || return 1
	runtime run --detach --pid-file "$dir/pid" --bundle "$dir" "$id" >"$vm_work/$id.out" 2>&1 </dev/null || {
		fail "$id starts" "$(said "$id")" "$("$numastow" why "$id" 2>&1)"
		return 1
	}
	echo "$VM_RUNTIME" >"$dir/runtime"
	pid=$(container_pid "$id")
	eventually 120 grep -q '^ready' "$vm_work/$id.out" || fail "$id has filled its memory" "$(said "$id")"
}

# asked ID - have the container's program check all of its memory, and print the result
asked()
{
	local n
	more()
	{
		(($(grep -c '^sum' "$vm_work/$1.out") > $2))
	}
	n=$(grep -c '^sum' "$vm_work/$1.out")
	kill -USR1 "$(container_pid "$1")"
	eventually 120 more "$1" "$n"
	grep '^sum' "$vm_work/$1.out" | tail -n 1
}

# sum_good NAME ID
sum_good()
{
	local sum
	sum=$(asked "$2")
	if [[ $sum == "sum good"* ]]; then
		ok "$1"
		echo "#   $sum"
	else
		fail "$1" "${sum:-no answer}" "$(tail -n 3 "$vm_work/$2.out")"
	fi
}

# in_dimm PID KIND - print the process's memory in the last DIMM's blocks, in kB; KIND is anon, file or huge
in_dimm()
{
	"$vm_progs/inblocks" "$1" | awk -v first="$dimm_first" -v n="$dimm_n" -v kind="$2" \
		'$1 >= first && $1 < first + n && $2 == kind { sum += $3 } END { print sum + 0 }'
}

# node_use NODE FIELD - print a field of the node's meminfo, in kB
node_use()
{
	awk -v field="$2:" '$3 == field { print $4 }' "/sys/devices/system/node/node$1/meminfo"
}
