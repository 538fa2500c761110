#!/bin/bash
# numastow-scope asks systemd for the unit of a cgroup. It sets a property of the unit that has exactly this cgroup, and
# only where the property is set already. The name of a cgroup proves nothing, because a container may have chosen it.
#
# usage: tests/vm/run v2-systemd tests/vm/scope.sh
. "$(dirname "$0")/lib.sh"

shopt -s extglob
programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
cgroups=/sys/fs/cgroup

# scope CGROUP PROPERTY LIST [INODE] - its exit code
scope()
{
	local inode

	inode=${4:-$(stat -c %i "$cgroups$1")}
	"$programs/numastow-scope" "$2" "$1" "$inode" "$3" >"$vm_work/scope.out" 2>&1
	echo $?
}

# cpus UNIT - its AllowedCPUs
cpus()
{
	systemctl show --property AllowedCPUs --value "$1"
}

# begin UNIT PROPERTY... - a scope with a process
begin()
{
	local unit=$1 properties=()

	shift
	for p in "$@"; do
		properties+=(--property "$p")
	done
	systemd-run --quiet --scope --unit "$unit" --slice machine "${properties[@]}" sleep 1000 &
	eventually 20 systemctl --quiet is-active "$unit.scope"
}

begin victim AllowedCPUs=0-3 Delegate=yes
begin plain Delegate=yes
eq "a unit's set becomes another" "$(scope /machine.slice/victim.scope AllowedCPUs 0-1)+$(cpus victim.scope)" 0+0-1
eq "the kernel has it" "$(<$cgroups/machine.slice/victim.scope/cpuset.cpus)" 0-1
eq "an equal set is not written" "$(scope /machine.slice/victim.scope AllowedCPUs 0-1)" 3
eq "a property that the unit does not have is not set" \
	"$(scope /machine.slice/plain.scope AllowedCPUs 0-1)+$(cpus plain.scope)" 3+
eq "each property for itself" "$(scope /machine.slice/victim.scope AllowedMemoryNodes 0)" 3
eq "a later cgroup with that name is another one" "$(scope /machine.slice/victim.scope AllowedCPUs 2 1)+$(cpus victim.scope)" 3+0-1

mkdir -p $cgroups/machine.slice/plain.scope/victim.scope $cgroups/machine.slice/victim.scope/inner
eq "another container's unit is not found by a name" \
	"$(scope /machine.slice/plain.scope/victim.scope AllowedCPUs 2)+$(cpus victim.scope)" 3+0-1
eq "nor is the unit above a cgroup" "$(scope /machine.slice/victim.scope/inner AllowedCPUs 2)+$(cpus victim.scope)" 3+0-1
mkdir -p $cgroups/alone.scope
eq "nor one that systemd does not know" "$(scope /alone.scope AllowedCPUs 2)" 3
eq "nor a slice" "$(scope /machine.slice AllowedCPUs 2)" 3
eq "an invalid list is an error" "$(scope /machine.slice/victim.scope AllowedCPUs 2-x 1)" 1
rmdir $cgroups/alone.scope

### from the hook, with crun's layout: the container one level below its scope

begin crunlike AllowedCPUs=0-7 Delegate=yes
dir=$cgroups/machine.slice/crunlike.scope
pid=$(<$dir/cgroup.procs)
mkdir $dir/container
echo "$pid" >$dir/container/cgroup.procs
echo +cpuset >$dir/cgroup.subtree_control
mkdir -p "$vm_work/bundle"
echo '{"linux":{"resources":{}}}' >"$vm_work/bundle/config.json"
state='{"ociVersion":"1.0.2","id":"crunlike","pid":'$pid',"status":"created","bundle":"'$vm_work/bundle'",
	"annotations":{"numastow.io/cpus":"2"}}'
check "a container in such a scope is placed" "$programs/numastow-hook" apply <<<"$state"
placed=$("$programs/numastow" ledger --json | jq -r '.containers[0].cpus')
eq "its cgroup has the set" "$(<$dir/container/cpuset.cpus)" "$placed"
eq "the scope's property is that set" "$(cpus crunlike.scope | tr ' ' ,)" "$placed"
check "systemd writes it again" systemctl daemon-reload
eq "and it stays" "$(allowed_cpus "$pid")" "$placed"

### a unit that has its memory nodes as a property, too

begin memlike AllowedCPUs=0-7 AllowedMemoryNodes=0-1 Delegate=yes
other=$(<$cgroups/machine.slice/memlike.scope/cgroup.procs)
check "a container whose unit has memory nodes is placed" "$programs/numastow-hook" apply \
	<<<"$(sed "s/crunlike/memlike/; s/\"pid\":[0-9]*/\"pid\":$other/; s/\"numastow.io.cpus\":\"2\"/&,\"numastow.io\/nodes\":\"1\"/" <<<"$state")"
eq "all of its grant is in effect" "$("$programs/numastow" ledger --json |
	jq -r '.containers[] | select(.id == "memlike") | .state + "+" + .cpus')+$(allowed_cpus "$other")+$(allowed_mems "$other")" \
	"active+4-7+4-7+1"
eq "the unit has the nodes" "$(systemctl show --property AllowedMemoryNodes --value memlike.scope)" 1
kill "$other"
eventually 20 test ! -e "/proc/$other"
check "its end releases everything" "$programs/numastow" gc --quiet

### what of root's capabilities the hook keeps is enough

# waiting - a hook that waits for its input: its pid in $hook_pid
waiting()
{
	# shellcheck disable=SC2034
	coproc hook { exec "$programs/numastow-hook" release 2>/dev/null; }
	# shellcheck disable=SC2154
	hook_pid=$hook_PID
	asleep()
	{
		grep -q '^State:.S' "/proc/$hook_pid/status" &&
			[[ $(readlink "/proc/$hook_pid/exe") == */numastow-hook ]]
	}
	eventually 20 asleep
}

# keeps MASK - whether the capabilities in effect are these, in hexadecimal
keeps()
{
	grep -qE "^CapEff:.0*$1\$" "/proc/$hook_pid/status"
}

has()
{
	[[ $("$programs/numastow" ledger --json | jq ".containers | length") == "$1" ]]
}

waiting
check "a hook that waits keeps CAP_DAC_OVERRIDE and CAP_SYS_NICE in effect" keeps 800002
check "and CAP_SYS_ADMIN for numastow-scope alone" grep -qE '^CapPrm:.0*a00002$' "/proc/$hook_pid/status"
kill "$hook_pid"
wait "$hook_pid" 2>/dev/null
check "the end releases everything" "$programs/numastow-hook" release <<<"${state/$pid/0}"
check "a container that lives keeps what it has" has 1

# /proc that shows users only their own processes, even root's group; a bundle and a cgroup of another user.
mount -o remount,hidepid=2,gid=12345 /proc
chown -R 1000:1000 "$vm_work/bundle" "$dir/container"
chmod 700 "$vm_work/bundle"
waiting
check "where /proc hides processes, CAP_SYS_PTRACE stays as well" keeps 880002
kill "$hook_pid"
wait "$hook_pid" 2>/dev/null
check "a container lives there, too" "$programs/numastow-hook" release <<<"$state"
check "and keeps what it has" has 1
kill "$pid"
eventually 20 test ! -e "/proc/$pid"
check "its end is seen" "$programs/numastow-hook" release <<<"$state"
check "the ledger is empty" has 0
begin again AllowedCPUs=0-7 Delegate=yes
chown -R 1000:1000 $cgroups/machine.slice/again.scope
pid=$(<$cgroups/machine.slice/again.scope/cgroup.procs)
state=${state/\"pid\":+([0-9])/\"pid\":$pid}
check "a container whose bundle and cgroup are another user's is placed" \
	"$programs/numastow-hook" apply <<<"${state//crunlike/again}"
eq "systemd has its set" "$(cpus again.scope | tr ' ' ,)" \
	"$("$programs/numastow" ledger --json | jq -r '.containers[0].cpus')"

### a broken config.yaml stops neither looking nor undoing

mkdir -p /etc/numastow
echo 'mode: obsrve' >/etc/numastow/config.yaml
for words in ledger why "gc --quiet" drains; do
	# shellcheck disable=SC2086
	check "$words works" "$programs/numastow" $words
	# shellcheck disable=SC2086
	check "$words says that it is broken" grep -q 'config.yaml:1: mode' <<<"$("$programs/numastow" $words 2>&1 >/dev/null)"
done
check "the container is still there" has 1
refuse "nothing is placed" 'config.yaml:1: mode' "$programs/numastow-hook" apply <<<"${state//crunlike/third}"
check "everything is undone" "$programs/numastow" restore --all
check "the ledger is empty again" has 0

### a user who may not read the ledger is told so, and cannot lock it

stranger=(setpriv --reuid=65534 --regid=65534 --clear-groups)
# The checkout may be in a folder that is root's alone.
bin=$vm_work/bin
mkdir -p "$bin"
cp "$programs/numastow" "$programs/numastow-fleet" "$programs/numastow-view" "$bin"
chmod 755 "$vm_work" "$bin"
refuse "the ledger is root's" "only root" "${stranger[@]}" "$bin/numastow" ledger
for file in /run/numastow/*.db /run/numastow/*.lock; do
	refuse "another user cannot lock $(basename "$file")" 'denied' "${stranger[@]}" flock --nonblock --shared "$file" true
done

vm_summary
