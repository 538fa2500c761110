# Completion of numastow(1) for fish. NUMA nodes are read from /sys; only names of containers take a program, `numastow
# ledger`, which is given 2 seconds and may fail: the ledger is root's to read.

# Print the command, how many words that are no options stand behind it, what may come now (options; words, behind "--";
# program: what another program takes), and the place of that program.
function __numastow_look
	set -l words (commandline -opc)
	set -l count (count $words)
	test $count -ge 2; or return
	set -l command $words[2]
	if contains -- $command explain release; and contains -- --cluster $words
		set command $command-cluster
	end
	set -l table (__numastow_table $command)
	set -l program $table[1]
	set -e table[1]
	set -l n 0
	set -l now options
	set -l i 3
	while test $i -le $count
		set -l word $words[$i]
		if test $now = options; and test "$word" = --
			set now words
		else if test $now = options; and string match -qr -- '^-.' $word
			contains -- $word $table; and set i (math $i + 1)
		else if test "$program" = $n
			set now program
			break
		else
			set n (math $n + 1)
		end
		set i (math $i + 1)
	end
	printf '%s\n' $command $n $now $i
end

function __numastow_first
	test (count (commandline -opc)) -eq 1
end

# __numastow_is COMMAND - whether its options may come
function __numastow_is
	set -l look (__numastow_look)
	test "$look[1]" = $argv[1] -a "$look[3]" = options
end

# __numastow_at COMMAND N [-] - whether its Nth word comes, or one of those behind it
function __numastow_at
	set -l look (__numastow_look)
	test "$look[1]" = $argv[1] -a "$look[3]" != program; or return
	test "$look[2]" -eq $argv[2]; and return
	test (count $argv) -gt 2; and test "$look[2]" -ge $argv[2]
end

function __numastow_in_program
	set -l look (__numastow_look)
	test "$look[3]" = program
end

# What that program takes.
function __numastow_program
	set -l look (__numastow_look)
	set -l words (commandline -opc)
	complete -C (string join ' ' -- (string escape -- $words[$look[4]..-1]) (commandline -ct))
end

# The word that is begun, without the option before it.
function __numastow_begun
	commandline -ct | string replace -r '^(--[a-z-]+=|-[A-Za-z](?=.))' ''
end

# The folder that the command line names.
function __numastow_sysroot
	set -l words (commandline -opc)
	set -l given (string replace -rf -- '^--sysroot=' '' $words)
	if set -l at (contains -i -- --sysroot $words)
		set given $words[(math $at + 1)]
	end
	printf '%s\n' $given[1]
end

function __numastow_node
	set -l folders (__numastow_sysroot)/sys/devices/system/node/node*
	string match -r '(?<=/node)[0-9]+$' -- $folders
end

function __numastow_nodes
	set -l begun (__numastow_begun | string match -r '^.*[,+!-]')
	for node in (__numastow_node)
		echo "$begun$node"
	end
end

# Containers with a grant: the beginnings of their ids, and in lines with "=" their names.
function __numastow_ledger
	set -l more
	set -l sysroot (__numastow_sysroot)
	test -n "$sysroot"; and set more --sysroot $sysroot
	timeout 2 numastow ledger --json $more 2>/dev/null </dev/null | LC_ALL=C sed -nE '
@NAMES@'
end

function __numastow_id
	__numastow_ledger | string match -v '=*'
end

# Processes, once a digit is there.
function __numastow_pid
	string match -qr '^[0-9]' -- (__numastow_begun); or return
	set -l folders /proc/*
	string match -r '(?<=^/proc/)[0-9]+$' -- $folders
end

function __numastow_process
	__numastow_id
	__numastow_pid
end

function __numastow_container
	__numastow_ledger | string replace -r '^=' ''
	__numastow_pid
end

# A KEY=VALUE of a request.
function __numastow_request
	set -l begun (__numastow_begun)
	switch $begun
		case 'cpu-mode=*'
			printf 'cpu-mode=%s\n' shared exclusive isolated
		case 'policy=*'
			printf 'policy=%s\n' single-numa-node restricted best-effort spread
		case 'nodes=*'
			for node in (__numastow_node)
				echo (string match -r "^.*[,+!=-]" -- $begun)"$node"
			end
		case '*=*'
		case '*'
			printf '%s=\n' cpus cpu-mode memory hugepages-2Mi hugepages-1Gi policy nodes
	end
end

