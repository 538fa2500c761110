#!/bin/sh
# A container's own program that misuses its cgroups: it moves all of its processes from one cgroup below its own to
# another, gives one of these the name of another container's unit, and writes every set that it may.
#
# usage: hostile NAME [PID]      NAME of another container's unit; process PID is not moved
victim=$1 spared=${2:-0}
top=/sys/fs/cgroup
[ ! -d $top/cpuset ] || top=$top/cpuset
cd $top || exit 1

sleep 100000 &
sleep 100000 &
mkdir -p init.scope "$victim" nested nested/deep
if [ -e cgroup.controllers ]; then
	# All processes have to be below before the controller is.
	# shellcheck disable=SC2013 # numbers, one a line
	for p in $(cat cgroup.procs); do
		echo "$p" >init.scope/cgroup.procs
	done 2>/dev/null
	echo +cpuset >cgroup.subtree_control
fi
all=$(cat cpuset.effective_cpus cpuset.cpus.effective 2>/dev/null)

fill()
{
	for f in cpuset.mems cpuset.cpus; do
		cat $f >"$1/$f"
	done 2>/dev/null
	echo "$all" >"$1/cpuset.cpus"
} 2>/dev/null

echo ready
while :; do
	for d in "$victim" nested nested/deep init.scope; do
		fill "$d"
		# shellcheck disable=SC2013 # numbers, one a line
		for p in $(cat cgroup.procs ./*/cgroup.procs nested/deep/cgroup.procs); do
			[ "$p" = "$spared" ] || echo "$p" >"$d/cgroup.procs"
		done 2>/dev/null
		taskset -p ff $$ >/dev/null 2>&1
		sleep 0.1
	done
done
