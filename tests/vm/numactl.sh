#!/bin/bash
# numastow numactl, taskset and migratepages beside the programs whose grammar they have: exit codes and effects, as
# progs/placed.c reads them back from the kernel.
#
# usage: tests/vm/run v2-4n|v2-cpuless|v2-pci tests/vm/numactl.sh
. "$(dirname "$0")/lib.sh"

numastow=${NUMASTOW_PROGRAMS:-$vm_root/build/release}/numastow
placed=$vm_progs/placed
# Divisible by 2, 3 and 4 nodes.
pages=48
# Not the one of containers, which other scripts in this guest may have left.
group=/sys/fs/cgroup/numactl-test

# since VERSION - whether this numactl is 2.0.VERSION or later; 2.0.18 is the first that tells
version=$(numactl --version 2>/dev/null | sed -n 's/^2\.0\.\([0-9]*\).*/\1/p')
since()
{
	((${version:-16} >= $1))
}

# seen COMMAND... - run it on "placed": sets $code and $effect
seen()
{
	code=0
	effect=$("$@" "$placed" $pages 2>/dev/null) || code=$?
}

# field NAME - of $effect
field()
{
	sed -n "s/.*\b$1=\([^=]*\)\( [a-z_]*=.*\|\)\$/\1/p" <<<"$effect"
}

# row OPTIONS CPUS PAGES [VERSION] - ours runs there, and has its pages there (- where that is left to the kernel); numactl
# of that version does the same
row()
{
	local options=() cpus=$2 on=$3 mine
	mapfile -d ' ' -t options < <(printf %s "$1")
	seen "${inside[@]}" "$numastow" numactl "${options[@]}"
	eq "numactl $1: runs on CPUs $cpus" "$code $(field cpus)" "0 $cpus"
	[[ $on == - ]] || eq "numactl $1: its pages" "$(field pages)" "$on"
	since "${4:-0}" || return
	mine=$code${effect% pages=*}
	seen "${inside[@]}" numactl "${options[@]}"
	eq "numactl $1: the same by numactl" "$code${effect% pages=*}" "$mine"
	[[ $on == - ]] || eq "numactl $1: also the pages" "$(field pages)" "$on"
}

# no OPTIONS PATTERN - both fail with 1, ours with a reason
no()
{
	local options=() rc=0
	mapfile -d ' ' -t options < <(printf %s "$1")
	refuse "numactl $1: refused, with the reason" "$2" "${inside[@]}" "$numastow" numactl "${options[@]}" true
	"${inside[@]}" numactl "${options[@]}" true >"$vm_work/said" 2>&1 || rc=$?
	eq "numactl $1: also by numactl" "$rc" 1
}

# better OPTIONS CPUS PAGES - what numactl cannot
better()
{
	local options=()
	mapfile -d ' ' -t options < <(printf %s "$1")
	row "$1" "$2" "$3" 99
	seen numactl "${options[@]}"
	eq "numactl $1: not by numactl" "$code" 1
}

inside=()

# numastow measure verifies where its memory is: on four nodes it would say so if mbind(2) were ignored.
measures()
{
	local saved=/var/lib/numastow/measure.json
	rm -f "$saved"
	"$numastow" measure --size 4Mi --runs 1 --time 1ms --json >"$vm_work/measured"
	eq "measure: from each node to each" "$(jq -c '[.pairs[] | [.from, .to]]' "$vm_work/measured")" \
		"$(jq -nc '[range(4) as $from | range(4) as $to | [$from, $to]]')"
	check "measure: each pair has its figures" \
		jq -e '[.pairs[] | .latency_4k_ns > 0 and .read_mbps > 0 and .read_write_mbps > 0] | all' "$vm_work/measured"
	eq "measure: HMAT's values are unknown where there is no HMAT" \
		"$(jq -c '[.pairs[] | .hmat_latency_ns, .hmat_read_mbps] | unique' "$vm_work/measured")" "[null]"
	if [[ $(jq -r .measured.virtualization "$vm_work/measured") == emulation ]]; then
		refuse "measure: figures of an emulation are not kept" 'mean nothing' \
			"$numastow" measure --size 1Mi --runs 1 --time 1ms --save
		check "measure: no file is written" test ! -e "$saved"
	else
		check "measure: the figures are kept" "$numastow" measure --size 1Mi --runs 1 --time 1ms --save
		check "measure: with the firmware's checksum" jq -e '.measured.firmware | length == 32' "$saved"
	fi
}

four_nodes()
{
	measures
	while read -r options cpus on version; do
		[[ ! $options ]] || row "${options//_/ }" "$cpus" "$on" "$version"
	done <<<"
-N_0		0-1	0:48
-c_1		2-3	1:48
--cpunodebind=1,3	2-3,6-7	-
-N_1-2		2-5	-
-N_!0		2-7	-
-N_!1-2		0-1,6-7	-
-N_+3		6-7	3:48
-N_all		0-7	-
-N_0_-m_same	0-1	0:48
-C_0,5		0,5	-
-C_0-2		0-2	-
-C_!0-3		4-7	-
-C_+1-2		1-2	-
-C_all		0-7	-
-a_-C_7		7	3:48
-C_0x3		3	1:48
-C_3_-C_6	6	3:48
-m_2		0-7	2:48
--membind=all	0-7	-
-N_2_-m_1,3	4-5	3:48
-b_-m_1		0-7	1:48
-t_-m_1		0-7	1:48
-p_3		0-7	3:48
-p_+2		0-7	2:48
-N_0_-P_2,3	0-1	2:48
-i_all		0-7	0:12,1:12,2:12,3:12
-i_1,3		0-7	1:24,3:24
-i_!1		0-7	0:16,2:16,3:16
-N_1_-l		2-3	1:48
--all_--interleave=0-1	0-7	0:24,1:24
"
	if [[ -d /sys/kernel/mm/mempolicy/weighted_interleave ]]; then
		row "-w 0,3" 0-7 0:24,3:24 19
	else
		refuse "numactl -w 0,3: it tells which kernel has it" 'Linux 6.9' "$numastow" numactl -w 0,3 true
	fi
	better "-N 0-3:2" 0-1,4-5 -
	better "-C 1-7:3" 1,4,7 -
	better "-i 0-2:2" 0-7 0:24,2:24
	no "-m 4" 'node 4 is not one of those that may be used \(0-3\)'
	no "-m 0-4" 'node 4'
	no "-N 4" 'node 4'
	no "-C 8" 'CPU 8 is not one of those that may be used \(0-7\)'
	no "-m 0 -i 1" 'one memory policy only'
	no "-p 0,1" '--preferred takes one node'
	no "-m same" 'takes a list'
	no "-m x" 'unknown word'
	no "-N 1 -a" '--all must be before'
	inside=(taskset -c 0)
	no "-C 1" 'with --all'
	row "-a -C 1" 1 0:48
	inside=()
}

# Within a cpuset of nodes 0 and 1.
confined()
{
	mkdir "$group"
	echo +cpuset >"${group%/*}/cgroup.subtree_control"
	echo 0-3 >"$group/cpuset.cpus"
	echo 0-1 >"$group/cpuset.mems"
	# shellcheck disable=SC2016 # of that shell
	inside=(sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group")
	row "-m all" 0-3 -
	row "-N all" 0-3 -
	row "-C all" 0-3 -
	row "-i +0-1" 0-3 0:24,1:24
	row "-N !0" 2-3 1:48
	row "-i !0" 0-3 1:48
	row "-a -C 1-7" 1-3 -
	row "-a -m 1-3" 0-3 1:48
	no "-m 2" 'node 2 is not one of those that may be used \(0-1\); with --all'
	no "-a -m 2" 'none of the nodes 2 has memory and is allowed to this process'
	no "-a -C 7" 'none of the CPUs 7'
	inside=()
	rmdir "$group"
}

# without_turn - which node is next depends on how many pages the program has taken
without_turn()
{
	sed 's/[0-9]* (interleave next)//;s/interleavenode: .*//'
}

shown()
{
	local options
	for options in "-m 1" "-i 0,2" "-p 2" "-N 3"; do
		# shellcheck disable=SC2086 # words
		eq "-s after $options is numactl's" "$("$numastow" numactl $options "$numastow" numactl -s | without_turn)" \
			"$(numactl $options numactl -s | without_turn)"
	done
	# The widths differ between versions, and what is free between two moments.
	eq "-H is numactl's" "$("$numastow" numactl -H | grep -v free | tr -s ' ')" "$(numactl -H | grep -v free | tr -s ' ')"
	eq "--cpu-compress" "$("$numastow" numactl -H --cpu-compress | sed -n 's/^node 2 cpus: //p')" "4-5 (2)"
}

# dumped FILE [OPTION...] - as numactl prints it
dumped()
{
	local file=$1
	shift
	numactl --length 64k "$@" --file "$file" --dump | tr -s ' '
}

# per_node - bytes on each node: where a file's interleaving begins depends on its inode
per_node()
{
	local from to node
	while IFS='-: ' read -r from to node; do
		echo "$node $((16#$to - 16#$from))"
	done | awk '{ sum[$1] += $2 } END { for (node in sum) print node, sum[node] }' | sort
}

shared_memory()
{
	local dir=$vm_work/shm policy
	mkdir -p "$dir"
	mount -t tmpfs -o size=64m none "$dir"
	for policy in "-m 1" "-i all" "-i 1,3" "-l"; do
		# shellcheck disable=SC2086 # words
		"$numastow" numactl -L 64k -f "$dir/ours" $policy --touch
		# shellcheck disable=SC2086 # words
		numactl -L 64k -f "$dir/theirs" $policy --touch
		eq "a file's policy, $policy" "$(dumped "$dir/ours")" "$(dumped "$dir/theirs")"
		[[ $policy == -l ]] || eq "and its pages" "$("$numastow" numactl -f "$dir/ours" -D | per_node)" \
			"$(numactl -L 64k -f "$dir/theirs" -D | per_node)"
		rm "$dir"/*
	done
	"$numastow" numactl -L 64k -f "$dir/two" -m 0 -T
	"$numastow" numactl -o 16k -L 16k -f "$dir/two" -m 3
	eq "a part of a file" "$("$numastow" numactl -f "$dir/two" -d | tr -s ' ' | sed 's/ $//' | paste -sd ';')" \
		"0000000000000000-0000000000004000: bind : 0;0000000000004000-0000000000008000: bind : 3;0000000000008000-0000000000010000: bind : 0"
	eq "pages stay where they are" "$("$numastow" numactl -f "$dir/two" -D)" "0000000000000000-0000000000010000: 0"
	refuse "--strict tells" 'strict, and some pages are on other nodes' \
		"$numastow" numactl -L 64k --strict -f "$dir/two" -m 2
	check "--verify" "$numastow" numactl -L 64k -f "$dir/new" -i 0,2 -V
	refuse "--verify finds a page elsewhere" 'verify 0: on node 0' "$numastow" numactl -f "$dir/two" -m 2 -V
	check "several preferred nodes" "$numastow" numactl -L 64k -f "$dir/many" -P 1,2
	eq "have that policy" "$("$numastow" numactl -f "$dir/many" -d | tr -s ' ')" \
		"0000000000000000-0000000000010000: preferred-many : 1 2 "
	umount "$dir"

	check "a segment" "$numastow" numactl -L 64k -I 5 -S "$dir/key" -m 2 -T
	eq "numactl sees its pages" "$(numactl -I 5 -S "$dir/key" -D)" "0000000000000000-0000000000010000: 2"
	check "a pool on node 1" set_pool 1 2048 4
	check "a segment of hugepages" "$numastow" numactl -u -L 4m -I 6 -S "$dir/key" -m 1 -T
	eq "has two" "$(pool_free 1 2048)" 2
	ipcs -m | awk '$1 ~ /^0x/ { print $2 }' | xargs -n 1 ipcrm -m
	set_pool 1 2048 0
}

# after COMMAND... - the kernel's set for a sleeping process that the command, which gets its number, was run on
after()
{
	local pid
	sleep 1000 &
	pid=$!
	"${@//PID/$pid}" >"$vm_work/said" 2>&1
	allowed_cpus "$pid"
	kill "$pid"
	wait "$pid" 2>/dev/null
}

tasksets()
{
	local options
	for options in "-cp 1,3" "-cp 0-7:3" "-p f0" "-p 0x81" "-acp 2-3" "-cp 7-99" "-cp 99" "-p zz"; do
		# shellcheck disable=SC2086 # words
		eq "taskset $options: what the process has" "$(after "$numastow" taskset $options PID)" \
			"$(after taskset $options PID)"
	done
	eq "taskset prints" "$("$numastow" taskset -c 1,2,4-7 "$numastow" taskset -p $$ | sed 's/[0-9]*//')" \
		"$(taskset -c 1,2,4-7 taskset -p $$ | sed 's/[0-9]*//')"
	eq "the command's CPUs" "$("$numastow" taskset 0x2c sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status)" 2-3,5
}

# moved POLICY FROM TO COMMAND... - where the pages of a program with that policy are, after the command moved them
moved()
{
	local pid policy=$1 from=$2 to=$3 out=$vm_work/held
	shift 3
	# shellcheck disable=SC2086 # words
	numactl $policy "$vm_progs/touch" --hold 8 >"$out" &
	pid=$!
	eventually 10 grep -q touched "$out"
	"$@" "$pid" "$from" "$to" || echo "failed $?"
	for node in 0 1 2 3; do
		# What is shared with others moves or not.
		echo "$node: $((($(pages_on "$pid" "$node") + 256) / 1024))"
	done
	kill "$pid"
	wait "$pid" 2>/dev/null
	rm "$out"
}

migrations()
{
	local policy from to
	while read -r policy from to; do
		[[ ! $policy ]] || eq "migratepages $from $to, after ${policy//_/ }" \
			"$(moved "${policy//_/ }" "$from" "$to" "$numastow" migratepages 2>&1)" \
			"$(moved "${policy//_/ }" "$from" "$to" migratepages 2>&1)"
	done <<<"
-m_1	1	3
-i_0,1	0,1	2,3
-i_all	0-1	3
-m_2	all	0
-m_2	!2	0
"
	eq "the pages are there" "$(moved "-m 1" 1 3 "$numastow" migratepages)" $'0: 0\n1: 0\n2: 0\n3: 8'
}

case $VM_SHAPE in
v2-4n)
	four_nodes
	confined
	shown
	shared_memory
	tasksets
	migrations
	;;
v2-cpuless)
	better "-N 1" 4-7 -
	row "-N all" 0-3 -
	row "-m all" 0-7 -
	row "-m +1" 0-7 2:48
	no "-m 1" 'node 1 is not one of those that may be used \(0,2\)'
	no "-N 2" 'node 2 has no CPUs'
	eq "-H is numactl's" "$("$numastow" numactl -H | grep -v free | tr -s ' ')" "$(numactl -H | grep -v free | tr -s ' ')"
	;;
v2-pci)
	modprobe -a virtio_net nvme
	eventually 10 test -e /sys/block/nvme0n1
	address=$(basename "$(ls -d /sys/bus/pci/drivers/virtio-pci/0000:4*)")
	interface=$(basename "$(ls -d /sys/bus/pci/devices/"$address"/virtio*/net/*)")
	ip link set "$interface" up
	ip address add 198.51.100.1/24 dev "$interface"
	row "-N netdev:$interface" 4-7 1:48
	row "-m block:nvme0n1" 0-7 1:48
	row "-m file:/dev/nvme0n1" 0-7 1:48
	# numactl finds devices on the root bus only.
	better "-m pci:${address#0000:} -N same" 4-7 1:48
	row "-N ip:198.51.100.7" 4-7 1:48
	no "-m netdev:lo" 'firmware does not tell'
	no "-m file:/proc" 'not on a single disk'
	ip address flush dev "$interface"
	;;
esac
vm_summary
