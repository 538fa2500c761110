#!/bin/bash
# Run several scripts in one guest, one after the other, each as if it were the first: a boot takes longer than many
# scripts.
#
# usage: tests/vm/run SHAPE tests/vm/several.sh SCRIPT:RUNTIME[:brief]...
#
# SCRIPT is the name of a file in tests/vm, without ".sh". Each ends with a line "# ran SCRIPT:RUNTIME, N s".
. "$(dirname "$0")/lib.sh"

# What scripts set for the whole machine, and how it was.
settings=(/proc/sys/kernel/numa_balancing /sys/kernel/mm/transparent_hugepage/enabled)
before=()
for file in "${settings[@]}"; do
	before+=("$(sed 's/.*\[\(.*\)\].*/\1/' "$file" 2>/dev/null)")
done

as_before()
{
	local i

	for ((i = 0; i < ${#settings[@]}; i++)); do
		[[ ! ${before[i]} ]] || echo "${before[i]}" >"${settings[i]}"
	done
	rm -rf --one-file-system "$vm_work" /run/numastow /var/lib/numastow /etc/numastow
	mkdir -p "$vm_work"
}

oom_kills()
{
	dmesg | grep -c 'Killed process'
}

# busy - print for how many seconds this machine's processors have worked
busy()
{
	awk '/^cpu / { printf "%d", ($2 + $3 + $4 + $7 + $8) / 100 }' /proc/stat
}

# still_running SECONDS NAME - after that time, print what the machine does: its time limit is near
still_running()
{
	local pid

	sleep "$1"
	echo "# $2 still runs after $1 s:"
	ps -eo pid,ppid,stat,time,wchan:24,args --sort=-time | head -n 12 | cut -c 1-150 | sed 's/^/#   /'
	for pid in $(ps -eo pid,stat,comm | awk '$2 ~ /^[RD]/ && $3 ~ /^(numastow|runc|crun|hold|bash)/ { print $1 }'); do
		echo "#   $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c 1-60): $(paste -sd ' ' "/proc/$pid/stack" | cut -c 1-300)"
	done
	find /run/numastow -maxdepth 1 -printf '%f ' | sed 's/^/#   /'
}

failed=0 announced=
for word; do
	IFS=: read -r script runtime brief <<<"$word"
	name=$script:$runtime
	began=$SECONDS
	worked=$(busy)
	kills=$(oom_kills)
	rm -f "$VM_CTL/oom-announced"
	echo "# running $name"
	still_running "${VM_TELL_AFTER:-800}" "$name" &
	watcher=$!
	VM_RUNTIME=$runtime BRIEF=${brief:+1} bash "$vm_dir/$script.sh" || failed=1
	# shellcheck disable=SC2046 # pids
	kill "$watcher" $(pgrep -P "$watcher") 2>/dev/null # it may have told already, and ended
	wait "$watcher" 2>/dev/null
	if [[ -e $VM_CTL/oom-announced ]]; then
		announced=1
	elif (($(oom_kills) > kills)); then
		fail "$name: an OOM kill that it did not announce"
		failed=1
	fi
	as_before
	echo "# ran $name, $((SECONDS - began)) s ($(($(busy) - worked)) s of CPU)"
done
[[ ! $announced ]] || announce_oom
exit $failed
