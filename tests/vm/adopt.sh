#!/bin/bash
# A container that was started before numastow was installed: it is found, kept off CPUs that others get for
# themselves, reported, and given back. And the agent, which does so too, sees CPUs go and come at once.
#
# usage: tests/vm/run --env VM_RUNTIME=crun v2 tests/vm/adopt.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
numastow=$programs/numastow
early=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
pinned=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb

# where ID - where Podman keeps it with this guest's driver
where()
{
	if [[ $(cgroup_driver) == systemd ]]; then
		echo "machine.slice:libpod:$1"
	else
		echo "/libpod_parent/libpod-$1"
	fi
}

# cpus ID - those on which its first process may run
cpus()
{
	allowed_cpus "$(container_pid "$1")"
}

cpus_become()
{
	[[ $(cpus "$1") == "$2" ]]
}

# apart LIST LIST - no number is in both
apart()
{
	[[ ! $({ numbers "$1"; numbers "$2"; } | sort | uniq -d) ]]
}

unset HOOK
check "a container starts without numastow" start $early --cgroups-path "$(where $early)"
check "another, on CPUs of its own" start $pinned --cgroups-path "$(where $pinned)" --cpuset-cpus 2-3
all=$(cpus $early)
eq "the first has the machine" "$all" 0-7

### numastow is installed

found=$("$numastow" gc)
eq "both are found" "$(grep -c 'started without the hook: it is kept off' <<<"$found")" 2
eq "once" "$("$numastow" gc | grep -c 'without the hook')" 0
eq "numastow ledger has them" \
	"$("$numastow" ledger --json | jq -c '[.unmanaged[] | [.id, .given_cpus, .found]] | sort')" \
	"[[\"$early\",null,true],[\"$pinned\",\"2-3\",true]]"
eq "nothing has changed for them" "$(cpus $early)+$(cpus $pinned)" "$all+2-3"

export HOOK=$programs/numastow-hook
check "a container gets CPUs for itself" start own --annotation numastow.io/cpus=3 --annotation numastow.io/cpu-mode=exclusive
own=$(cpus own)
check "the first has left them" apart "$own" "$(cpus $early)"
eq "the second has its own, which nobody got" "$(cpus $pinned)" 2-3
check "the end of the one" stop own
check "gives the first all it had" eventually 20 cpus_become $early "$all"

### a look at containers while a container's hook is still to run

created=cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc
cat >"$vm_work/look" <<EOF
#!/bin/sh
exec "$numastow" gc >"$vm_work/looked"
EOF
chmod 755 "$vm_work/look"
unset HOOK
check "a container is looked at by its own hook" start $created --cgroups-path "$(where $created)" \
	--edit ".hooks.createRuntime = [{path: \"$vm_work/look\"}]"
check "which has run" test -e "$vm_work/looked"
eq "it is not said to have no hook" "$(grep -c "$created" "$vm_work/looked")" 0
eq "without one it is found when it runs" "$("$numastow" gc | grep -c "without the hook")" 1
check "its end" stop $created

### an agent sees CPUs go and come

export HOOK=$programs/numastow-hook
check "again" start own --annotation numastow.io/cpus=3 --annotation numastow.io/cpu-mode=exclusive
# Ten minutes between two looks: what is quicker was told by the kernel.
mkdir -p /etc/numastow
printf 'reconcile-interval: 10m\ngc-interval: 10m\n' >/etc/numastow/agent.yaml
"$programs/numastow-agent" >"$vm_work/agent.out" 2>&1 &
agent=$!
check "an agent begins" eventually 60 grep -q . /run/numastow/agent.lock
own=$(cpus own)
first=${own%%[-,]*}
others=$(cpus $early)
offline "$first"
check "an exclusive CPU goes: the container runs on the others" eventually 30 \
	sh -c "! grep -q 'Cpus_allowed_list:.*\b$first\b' /proc/$(container_pid own)/status"
eq "those who leave them have left them" "$(cpus $early)" "$others"
online "$first"
check "it comes: the container has it" eventually 30 cpus_become own "$own"
eq "and nobody else" "$(cpus $early)" "$others"
kill $agent
wait $agent
rm /etc/numastow/agent.yaml

check "all ends" "$numastow" restore --all
check "and everything is given back" eventually 20 cpus_become $early "$all"
eq "as each had it" "$(cpus $pinned)" 2-3

vm_summary
