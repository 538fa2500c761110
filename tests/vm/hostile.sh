#!/bin/bash
# Containers that move all of their processes from cgroup to cgroup below their own, name one as another container's
# unit is called, and write every set that they may, while exclusive containers come and go: after each round every
# thread of every container runs where the ledger says, and no unit but the right one has been changed.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun [--env BRIEF=1] v1|v2|v2-systemd tests/vm/hostile.sh
#
# BRIEF: 3 rounds instead of 100.
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow
rounds=${ROUNDS:-100}
[[ ! ${BRIEF:-} ]] || rounds=3
exclusive=(--annotation numastow.io/cpu-mode=exclusive)
# What `podman run --systemd=always` does: a cgroup namespace, and its tree to be written.
writable='.linux.namespaces += [{type: "cgroup"}] | .mounts += [
	{destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "ro"]},
	{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "rw"]},
	{destination: "/dev/shm", type: "tmpfs", source: "tmpfs", options: ["nosuid"]},
	{destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance"]},
	{destination: "/run", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"]},
	{destination: "/run/lock", type: "tmpfs", source: "tmpfs", options: ["nosuid"]}]'

# units - every scope with the CPUs that systemd sets for it, but not those of the containers that come and go
units()
{
	[[ $VM_INIT == systemd ]] || return 0
	systemctl show --property Id,AllowedCPUs '*.scope' | paste -sd ' ' | sed 's/  /\n/g' | grep -v round | sort
}

# home ID - the container's own cgroup, as its hook has written it down
home()
{
	local path

	path=$(awk '$1 == "cpuset" { print $4 }' "/run/numastow/unmanaged/$1" 2>/dev/null)
	[[ $path ]] || path=$(record "$1" cgroup)
	[[ $VM_CGROUP == v2 ]] || path=/cpuset$path
	echo "/sys/fs/cgroup$path"
}

### the containers: hostile ones without and with a grant, one with systemd in it, an exclusive one as victim

start victim "${exclusive[@]}" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=1 ||
	fail "the victim starts" "$(said victim)"
start loose --args "/bin/hostile test-victim.scope" --edit "$writable" || fail "a hostile container starts" "$(said loose)"
start placed --args "/bin/hostile test-victim.scope" --edit "$writable" --annotation numastow.io/cpus=2 \
	--annotation numastow.io/nodes=0 || fail "a hostile container with a grant starts" "$(said placed)"
check "they are at it" eventually 60 grep -q ready "$vm_work/loose.out" "$vm_work/placed.out"
# All processes of this one are in a cgroup whose name begins with a dot.
cat >"$(vm_rootfs)/bin/hidden" <<-'END'
	#!/bin/sh
	cd /sys/fs/cgroup
	[ ! -d cpuset ] || cd cpuset
	mkdir .hidden
	[ -e cgroup.controllers ] || for f in cpuset.mems cpuset.cpus; do
		cat $f >.hidden/$f
	done
	echo $$ >.hidden/cgroup.procs && echo hidden
	exec sleep 100000
END
chmod +x "$(vm_rootfs)/bin/hidden"
start hidden --args /bin/hidden --edit "$writable" --annotation numastow.io/cpus=1 --annotation numastow.io/nodes=0 ||
	fail "a container that hides its processes starts" "$(said hidden)"
check "it has hidden them" eventually 60 grep -q hidden "$vm_work/hidden.out"
check "they are found" sh -c "'$numastow' show hidden | grep -w '$(container_pid hidden)'"
hostile=(loose placed hidden)

if [[ $VM_INIT == systemd ]]; then
	# The victim's own unit has a set, which systemd keeps: another one's name for it must not reach that.
	systemd-run --quiet --scope --unit test-named --slice machine --property AllowedCPUs=0-7 --property Delegate=yes \
		sleep 100000 &
	eventually 20 systemctl --quiet is-active test-named.scope
	mkdir -p "$vm_work/bundle/named"
	echo '{"annotations":{"numastow.io/cpus":"1","numastow.io/cpu-mode":"exclusive","numastow.io/nodes":"1"},
		"linux":{"resources":{}}}' >"$vm_work/bundle/named/config.json"
	head -n 1 /sys/fs/cgroup/machine.slice/test-named.scope/cgroup.procs >"$vm_work/bundle/named/pid"
	check "a container whose unit has a set is placed" hook_for named apply
	eq "its unit has the set of the ledger" "$(systemctl show --property AllowedCPUs --value test-named.scope)" \
		"$(record named cpus)"
fi

if [[ $VM_CGROUP == v2 && -x /usr/lib/systemd/systemd ]]; then
	# systemd as first process, in a tree of its own: this machine's, with a layer of RAM.
	tree=$vm_work/tree
	mkdir -p "$tree"/{lower,upper/etc/systemd/system,work,root}
	mount --bind / "$tree/lower"
	mount -t overlay -o "lowerdir=$tree/lower,upperdir=$tree/upper,workdir=$tree/work" tree "$tree/root"
	cp "$vm_dir/progs/hostile.sh" "$tree/root/etc/hostile"
	cat >"$tree/root/etc/systemd/system/hostile.service" <<-END
		[Unit]
		DefaultDependencies=no
		[Service]
		ExecStart=/bin/sh /etc/hostile test-named.scope 1
		Delegate=yes
	END
	start init --args "/usr/lib/systemd/systemd --unit=hostile.service" --edit "$writable | .root = {path: \"$tree/root\"} |
		.process.env += [\"container=oci\", \"SYSTEMD_LOG_TARGET=console\"] |
		.process.capabilities = ([\"CAP_CHOWN\", \"CAP_DAC_OVERRIDE\", \"CAP_FOWNER\", \"CAP_FSETID\", \"CAP_KILL\",
			\"CAP_SETGID\", \"CAP_SETUID\", \"CAP_SETPCAP\", \"CAP_NET_BIND_SERVICE\", \"CAP_SYS_CHROOT\"] as \$c |
			{bounding: \$c, effective: \$c, permitted: \$c})" || fail "a container with systemd starts" "$(said init)"
	pid=$(container_pid init)
	check "systemd is its first process" grep -q '^Name:.systemd' "/proc/$pid/status" || said init
	check "it has moved itself" eventually 60 grep -q '/init.scope$' "/proc/$pid/cgroup"
	hostile+=(init)
fi

### exclusive containers come and go

before=$(units)
for at in 1 2; do
	bundle "round$at" "${exclusive[@]}" --annotation numastow.io/cpus="$at" >/dev/null
done
bad=0 started=0
for ((round = 1; round <= rounds && bad < 3; round++)); do
	at=$((round % 2 + 1))
	dir=$vm_work/bundle/round$at
	if runtime run --detach --pid-file "$dir/pid" --bundle "$dir" "round$at" >"$vm_work/round.out" 2>&1 </dev/null; then
		echo "$VM_RUNTIME" >"$dir/runtime"
		started=$((started + 1))
	else
		fail "round $round: an exclusive container starts" "$(<"$vm_work/round.out")" "$("$numastow" why "round$at")"
		bad=$((bad + 1))
	fi
	"$vm_checker" >"$vm_work/checked" || { fail "round $round: started" "$(<"$vm_work/checked")"; bad=$((bad + 1)); }
	if ((round % 3 == 0)); then
		"$numastow" gc --quiet >"$vm_work/gc.out" 2>&1 || { fail "round $round: gc" "$(<"$vm_work/gc.out")"; bad=$((bad + 1)); }
	fi
	now=$(units)
	if [[ $now != "$before" ]]; then
		fail "round $round: no unit has another set" "$(diff <(echo "$before") <(echo "$now"))"
		bad=$((bad + 1))
	fi
	if ((round % 2)); then
		"$vm_checker" >"$vm_work/checked" || { fail "round $round: gc" "$(<"$vm_work/checked")"; bad=$((bad + 1)); }
		gone round1 round2
		"$vm_checker" >"$vm_work/checked" || { fail "round $round: ended" "$(<"$vm_work/checked")"; bad=$((bad + 1)); }
	fi
done
eq "$rounds exclusive containers came and went" $started "$rounds"
((bad)) || ok "after each of them every thread ran where the ledger says, and every unit was as it was"
gone round1 round2

### and all of them are still known for what they are

declare -A homes
for id in "${hostile[@]}"; do
	homes[$id]=$(home "$id")
	below=$(cgroup_dir "$(container_pid "$id")")
	check "$id is below its own cgroup" test "${below#"${homes[$id]}"/}" != "$below"
done
eq "the hostile container's grant still stands" "$(record placed state)" active
check "everything is given back" "$numastow" restore --all
for id in "${hostile[@]}" victim; do
	dir=${homes[$id]:-$(cgroup_dir "$(container_pid "$id")")}
	eq "$id has all CPUs and all memory" \
		"$(cat "$dir"/cpuset.{cpus.effective,effective_cpus,mems.effective,effective_mems} 2>/dev/null | paste -sd ' ')" \
		"0-7 0-1"
done
gone victim "${hostile[@]}"
[[ ! ${tree:-} ]] || umount "$tree/root" "$tree/lower"
[[ $VM_INIT != systemd ]] || systemctl stop test-named.scope

vm_summary
