#!/bin/bash
# The kernel takes pages out of what containers were granted: by demotion to a slower memory tier (until Linux 6.15), and by
# swapoff(8), which reads pages back into memory of its own nodes. `doctor` and `show` tell, and `migrate` brings them home.
#
# usage: tests/vm/run --release other v2-hmat tests/vm/stray.sh
. "$(dirname "$0")/lib.sh"

programs=${NUMASTOW_PROGRAMS:-$vm_root/build/release}
export HOOK=$programs/numastow-hook
numastow=$programs/numastow

# doctor_says PATTERN
doctor_says()
{
	grep -qE "$1" <<<"$("$numastow" doctor)"
}

# at_home - whether `show` says so
at_home()
{
	grep -q '^ *in place *yes' <<<"$("$numastow" show one)"
}

# comes_home FROM - the pages are looked for, and brought back
comes_home()
{
	check "show says that they are elsewhere" fails at_home
	check "doctor, too" doctor_says "are outside of nodes 0, which its cpuset allows"
	check "they are brought home" "$numastow" migrate one all 0
	within "none is left" "$(pages_on "$pid" "$1")" 0 1000
	check "doctor is content" fails doctor_says "are outside of nodes 0"
}

want one --args "holder --anon 200" --annotation numastow.io/cpus=1 --annotation numastow.io/memory=256Mi \
	--annotation numastow.io/nodes=0
check "it has its memory" eventually 60 grep -q '^ready' "$vm_work/one.out"
pid=$(container_pid one)
dir=$(cgroup_dir "$pid" memory)

### demotion

warning='demotion_enabled is true; container one was granted memory of nodes 0, and nodes 2 are a slower'
check "demotion is off" fails doctor_says "$warning"
check "it is turned on" "$numastow" settings demotion_enabled=1
check "doctor names the container" doctor_says "$warning"
echo 100M >"$dir/memory.reclaim"
within "pages have left its node" "$(pages_on "$pid" 2)" 80000 120000
check "it is turned off" "$numastow" settings demotion_enabled=0
comes_home 2

### swapoff

# Written first: reclaim must not have to allocate.
dd if=/dev/zero of=/tmp/swap bs=1M count=250 status=none
modprobe loop
device=$(losetup --find --show /tmp/swap)
mkswap "$device" >/dev/null
swapon "$device"
echo 150M >"$dir/memory.reclaim"
within "it is swapped out" "$(status_of "$pid" VmSwap | tr -dc 0-9)" 100000 210000
check "swapoff, on a CPU of another node" taskset -c 4 swapoff "$device"
within "its pages are on that node" "$(pages_on "$pid" 1)" 80000 210000
losetup --detach "$device"
rm /tmp/swap
comes_home 1
gone one

vm_summary
