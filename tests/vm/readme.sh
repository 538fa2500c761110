#!/bin/bash
# A first user on a machine with two CPUs: to a placed container, a refusal, a drain's dry run and doctor's report. These are
# the commands of README.md and docs/fleet.md, as they stand there: every block that begins with "```sh" is run as if it were
# pasted, on one NUMA node. The output is the transcript. What must differ in a guest is set in Podman's own configuration.
#
# usage: tests/vm/run --env VM_RUNTIME=runc|crun v2-one tests/vm/readme.sh
#
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# failed_command COMMAND STATUS - remember it; 4 is doctor's and status's answer that they have found problems
failed_command()
{
	[[ $2 == 4 && $1 =~ ^numastow\ (doctor|status) ]] || failed_commands+="'$1'"$'\n'
}

# paste_block FILE - run it in this shell, so that later blocks have its variables and its jobs; the output is in $said.
# A command that fails, and is not asked for its result, fails the block.
paste_block()
{
	local name failed_commands=
	name="${1##*/}: $(head -n 1 "$1")"

	said=$1.out
	trap 'failed_command "$BASH_COMMAND" $?' ERR
	# shellcheck source=/dev/null
	. "$1" >"$said" 2>&1
	trap - ERR
	if [[ $failed_commands ]]; then
		fail "$name" "failed: $failed_commands" "$(cat "$said")"
	else
		ok "$name"
	fi
	sed 's/^/# $ /' "$1"
	sed 's/^/# | /' "$said"
}

record_of()
{
	numastow ledger --json | jq -r --arg id "$(podman inspect --format '{{.Id}}' "$1")" \
		".containers[] | select(.id == \$id) | .$2"
}

# installed - print what is there by our name. Other programs' large folders are left out: a look at each file takes long here.
installed()
{
	find /usr/local /etc/numastow /usr/share/containers/oci /lib/systemd/system \
		\( -name go -o -name node_modules -o -name 'python3*' \) -prune -o -iname '*numastow*' -print 2>/dev/null
}

# looks_right FILE - what a block's output must show, and the kernel
looks_right()
{
	local block pid

	block=$(<"$1")
	case $block in
	*'make install'*)
		check "the hook is installed" test -s /usr/share/containers/oci/hooks.d/numastow-apply.json
		;;
	*'--name db '*)
		pid=$(podman inspect --format '{{.State.Pid}}' db)
		eq "db has one exclusive CPU" "$(record_of db exclusive)" true
		eq "and runs on it" "$(allowed_cpus "$pid")" "$(record_of db cpus)"
		eq "its hugepages are in the pool" "$(pool 0 2048)" 8
		;;
	*'grep allowed_list'*)
		check "the kernel's answer is shown" grep -qE "^Cpus_allowed_list:.*$(record_of db cpus)\$" "$said"
		check "the topology is shown" grep -q '^node 0' "$said"
		check "why finds the container by Podman's name" grep -q ' placed ' "$said"
		# It gives up on checks that take seconds, as those by Python do in a guest on a busy machine.
		check "status finds the hook" grep -qE 'Podman +(runs the hook|cannot be checked: .* did not answer)' "$said"
		;;
	*'cpus=500'*)
		check "the reason of the refusal is shown" grep -q 'refused' "$said"
		eq "twice: by why and explain" "$(grep -c '500 CPUs' "$said")" 2
		check "what would fit is shown" grep -q 'node 0' "$said"
		eq "the pool is as it was" "$(pool 0 2048)" 8
		;;
	*'--dry-run'*)
		check "the drain's plan is shown" grep -q '128Mi' "$said"
		eq "no memory is offline" "$(cat /sys/devices/system/memory/memory*/state | sort -u)" online
		check "doctor's report is shown" grep -qE 'problem|advice|information|Nothing' "$said"
		;;
	*'make uninstall'*)
		eq "the pool is empty again" "$(pool 0 2048)" 0
		eq "what was installed is gone" \
			"$(installed)" ""
		;;
	*'numastow nodes'*)
		check "the machine is ready" grep -qE "^$(hostname) .*ready" "$said"
		;;
	*'--name cache '*)
		check "the container has the reservation" test "$(record_of cache state)" = active
		;;
	esac
}

# split FILE NAME - each of its blocks into a file, $vm_work/NAME-1 and so on
split()
{
	awk -v to="$vm_work/$2-" '/^```sh$/ { inside = 1; n++; next } /^```/ { inside = 0 } inside { print >(to n) }' \
		"$vm_root/$1"
	check "$1 has commands" test -s "$vm_work/$2-1"
}

# paste_all NAME - in their order; the fleet's are for where numastow is installed: before it is removed again
paste_all()
{
	local i

	for ((i = 1; ; i++)); do
		[[ -e $vm_work/$1-$i ]] || break
		[[ $(<"$vm_work/$1-$i") != *'make uninstall'* ]] || paste_all fleet
		paste_block "$vm_work/$1-$i"
		looks_right "$vm_work/$1-$i"
	done
}

cat >"$vm_work/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "/var/lib/containers/storage"
runroot = "$vm_work/containers-run"
END
cat >"$vm_work/containers.conf" <<END
[containers]
netns = "none"
[engine]
runtime = "$VM_RUNTIME"
cgroup_manager = "$(cgroup_driver)"
events_logger = "file"
END
export CONTAINERS_STORAGE_CONF=$vm_work/storage.conf CONTAINERS_CONF=$vm_work/containers.conf
# There is no registry: an image of that name is here already.
tar -C "$(vm_rootfs)" -c . | podman import --quiet - docker.io/library/busybox >"$vm_work/import.out" 2>&1 ||
	fail "the image" "$(cat "$vm_work/import.out")"

split README.md readme
split docs/fleet.md fleet
cd "$vm_root" || exit 1
paste_all readme

vm_summary
