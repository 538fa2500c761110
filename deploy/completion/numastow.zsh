#compdef numastow
# Completion of numastow(1) for zsh. NUMA nodes are read from /sys; only names of containers take a program, `numastow
# ledger`, which is given 2 seconds and may fail: the ledger is root's to read.

# The folder that the command line names.
_numastow_sysroot() {
	local -i at=${words[(i)--sysroot*]}

	sysroot=
	if [[ ${words[at]:-} == --sysroot=* ]]; then
		sysroot=${words[at]#*=}
	elif ((at < CURRENT - 1)); then
		sysroot=${words[at + 1]}
	fi
}

_numastow_node() {
	local sysroot
	local -a found

	_numastow_sysroot
	found=($sysroot/sys/devices/system/node/node<->(N/:t))
	found=(${found#node})
	compadd "$@" -a found
}

_numastow_nodes() {
	compset -P '*[,+!-]'
	_numastow_node "$@" -S ''
}

# Containers with a grant: the beginnings of their ids, and their names.
_numastow_ledger() {
	local line sysroot
	local -a more

	_numastow_sysroot
	[[ -z $sysroot ]] || more=(--sysroot $sysroot)
	ids=() names=()
	for line in ${(f)"$(timeout 2 numastow ledger --json $more 2>/dev/null </dev/null | LC_ALL=C sed -nE '
@NAMES@')"}; do
		if [[ $line == '='* ]]; then
			names+=(${line#'='})
		else
			ids+=($line)
		fi
	done
}

_numastow_id() {
	local -a ids names

	_numastow_ledger
	compadd "$@" -a ids
}

# Processes, once a digit is there.
_numastow_pid() {
	local -a found

	[[ $PREFIX == <->* ]] || return
	found=(/proc/<->(N/:t))
	compadd "$@" -a found
}

_numastow_process() {
	local -a ids names

	_numastow_ledger
	compadd "$@" -a ids
	_numastow_pid "$@"
}

_numastow_container() {
	local -a ids names

	_numastow_ledger
	compadd "$@" -a ids
	compadd "$@" -a names
	_numastow_pid "$@"
}

# A KEY=VALUE of a request.
_numastow_request() {
	local -a keys=(cpus cpu-mode memory hugepages-2Mi hugepages-1Gi policy nodes)

	if ! compset -P 1 '*='; then
		compadd "$@" -q -S = -a keys
		return
	fi
	case $IPREFIX in
	*cpu-mode=) compadd "$@" shared exclusive isolated ;;
	*policy=) compadd "$@" single-numa-node restricted best-effort spread ;;
	*nodes=) _numastow_nodes "$@" ;;
	esac
}

_numastow() {
	local curcontext=$curcontext state line command
	local -a specs
	local -A opt_args

	_arguments -C '(- *)'{-h,--help}'[print this text]' '(- *)'{-V,--version}'[print the version]' \
		'1:command:_numastow_commands' '*::argument:->rest' && return
	[[ $state == rest ]] || return 1
	command=$words[1]
	if [[ $command == (explain|release) ]] && ((${words[(Ie)--cluster]})); then
		command+=-cluster
	fi
	_numastow_table $command
	((${#specs})) || return 1
	curcontext=${curcontext%:*:*}:numastow-$command:
	_arguments -s -S $specs
}

