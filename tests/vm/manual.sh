#!/bin/bash
# The examples of man pages that need root, systemd and memory that can leave: numastow-scheduler(8), numastow-agent(8),
# numastow-drain(1), and of numastow(1) those for a running container. They are run as they are written, but for sizes and
# ids; ssh and scp to machine web-3 reach this one.
#
# usage: tests/vm/run --env VM_RUNTIME=crun|runc v2-systemd tests/vm/manual.sh
#
# shellcheck disable=SC2317 # functions are called by check and eventually
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

export BUILD=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export PREFIX=/usr/local LIBEXECDIR=/usr/local/libexec/numastow MANDIR=/usr/local/share/man
export SYSCONFDIR=/etc HOOKSDIR=$vm_work/hooks.d UNITDIR=/etc/systemd/system
export HOOK=$LIBEXECDIR/numastow-hook

# example PAGE BEGINNING - print the example of a man page that begins so
example()
{
	awk -v begins="$2" '
		/^\.SH/ { inside = /EXAMPLE/ }
		/^\.E[EX]$/ {
			if (text != "" && index(text, begins) == 1) { printf "%s", text; exit }
			literal = inside && $0 == ".EX"; text = ""; next
		}
		literal {
			gsub(/\\\(aq/, "\047"); gsub(/\\\(dq/, "\""); gsub(/\\-/, "-"); gsub(/\\e/, "\\"); gsub(/\\&/, "")
			text = text $0 "\n"
		}' "$vm_root/docs/man/$1"
}

# paste NAME COMMANDS - run them; each must succeed. The output is in $said
paste()
{
	said=$vm_work/said
	sed 's/^/# $ /' <<<"$2"
	if [[ $2 ]] && bash -ec "$2" >"$said" 2>&1; then
		ok "$1"
	else
		fail "$1" "$(cat "$said")"
	fi
	sed 's/^/# | /' "$said"
}

mkdir -p "$vm_work/bin" "$vm_work/reader"
printf '#!/bin/sh\nshift\nexec "$@"\n' >"$vm_work/bin/ssh"
printf '#!/bin/sh\nexec cp -r "$2" "${3#web-3:}"\n' >"$vm_work/bin/scp"
chmod +x "$vm_work"/bin/*
export PATH=$vm_work/bin:$PREFIX/bin:$PREFIX/sbin:$PATH
echo 127.0.0.1 scheduler.example >>/etc/hosts
cd "$vm_root" && deploy/install install || exit 1
cd "$vm_work/reader" || exit 1

# --- the daemons ----------------------------------------------------------------------------------

paste "numastow-scheduler(8)" "$(example numastow-scheduler.8 numastow-ca)"
check "the scheduler runs with TLS" eventually 60 sh -c 'journalctl -u numastow-scheduler | grep -q "tls=yes"'
paste "numastow-agent(8), without a fleet" "$(example numastow-agent.8 systemctl)"
check "the agent runs" eventually 60 test -S /run/numastow/agent.sock
systemctl stop numastow-agent
paste "certificates" "numastow-ca agent ca web-3 && numastow-ca client ca me drain"
paste "numastow-agent(8), in a fleet" "$(example numastow-agent.8 scp)"
cat >/etc/numastow/client.yaml <<END
scheduler: scheduler.example:7200
ca: $PWD/ca/client/me/ca.crt
certificate: $PWD/ca/client/me/tls.crt
key: $PWD/ca/client/me/tls.key
END
ready()
{
	numastow nodes web-3 2>/dev/null | grep -q ready
}
check "the machine is ready" eventually 120 ready
numastow status --json >"$vm_work/status.json"
eq "status: agent and scheduler work" "$(jq -r '"\(.agent.state) \(.scheduler.state)"' "$vm_work/status.json")" "ok ok"
sed 's/^/# | /' "$vm_work/status.json"
numastow doctor >"$vm_work/doctor" 2>&1
check "doctor, beside them, has an answer" test $? = 0 -o $? = 4
eq "and all of its rules" "$(numastow doctor --json | jq '.not_examined | length')" 0

# --- a container ----------------------------------------------------------------------------------

both=$(example numastow.1 'numastow place --confirmed')
paste "numastow(1): place" "$(head -n 1 <<<"$both" | sed 's/8Gi/256Mi/')"
annotation=$(sed -nE 's/^annotation +//p' "$said")
id=8f14e45fceea167a5a36dedd4bea2543f0f9f6b8c3b7a5d2e1c4b6a79880f1e2
check "a container with the annotation starts" start $id --annotation "$annotation" --args "touch-memory --hold 32"
node=$(allowed_mems "$(container_pid $id)")
eq "on the reserved node" "$annotation" "${annotation%%:*}:$node@web-3"
check "its memory is there" eventually 60 sh -c "grep -q 'N$node=8192' /proc/$(container_pid $id)/numa_maps"
paste "numastow(1): fence and repin" "$(example numastow.1 'numastow fence' | sed -e "s/web-3 1/web-3 $node/" -e "s/--to 0/--to $((1 - node))/")"
eq "it is on the other node" "$(allowed_mems "$(container_pid $id)")" $((1 - node))
check "its memory, too" grep -q "N$((1 - node))=8192" "/proc/$(container_pid $id)/numa_maps"
check "unfence" numastow unfence web-3 "$node"
stop $id

# --- memory ---------------------------------------------------------------------------------------

dimm_add dimm1 256 1 >/dev/null
size=$((16#$(</sys/devices/system/memory/block_size_bytes)))
first=$(($(qmp query-memory-devices | jq '.[] | select(.data.id == "dimm1") | .data.addr') / size))
last=$((first + (256 << 20) / size - 1))
check "a DIMM is there" eventually 60 test -e /sys/devices/system/memory/memory$last
check "and online" numastow online --zone movable $first-$last
device=$(numastow blocks --json | jq -r ".blocks[] | select(.block == $first) | .device")
paste "numastow-drain(1): a dry run" "$(example numastow-drain.1 'numastow drain --device' | sed "s/dimm1/$device/")"
eq "which changes nothing" "$(cat /sys/devices/system/memory/memory{$first,$last}/state | sort -u)" online
paste "numastow-drain(1): what keeps a block online" "$(example numastow-drain.1 'numastow drain --explain' | sed "s/50/$first/")"
whole=$(example numastow-drain.1 'numastow drain web-3' | sed -e 's/8Gi/256Mi/' -e "s/--node 1/--device $device/" -e 's/--size [^ ]* //')
eval "$whole" >"$vm_work/wait.out" 2>&1 &
drain=$!
check "numastow-drain(1): the memory may be removed" eventually 120 grep -qi 'may be removed' "$vm_work/wait.out"
dimm_del dimm1 >/dev/null
wait $drain
eq "numastow-drain(1): with --wait it ends when the hypervisor has removed it" "$?" 0
sed 's/^/# | /' "$vm_work/wait.out"
check "the blocks are gone" test ! -e /sys/devices/system/memory/memory$last

cd "$vm_root" && check "uninstall" deploy/install uninstall
vm_summary
