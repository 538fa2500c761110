# shellcheck shell=bash
# Completion of numastow(1) for bash. NUMA nodes are read from /sys; only names of containers take a program, `numastow
# ledger`, which is given 2 seconds and may fail: the ledger is root's to read.

# _numastow_offer WORD... - those that begin as $cur does. Unlike compgen -W it expands nothing.
_numastow_offer()
{
	local word

	for word; do
		[[ $word != "$cur"* ]] || COMPREPLY+=("$word")
	done
}

# _numastow_sysroot - the folder that the command line names
_numastow_sysroot()
{
	local i

	sysroot=
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == --sysroot ]]; then
			[[ ${COMP_WORDS[++i]} != = ]] || ((++i))
			sysroot=${COMP_WORDS[i]}
		fi
	done
}

# _numastow_nodes [list] - NUMA nodes; in a list, one more
_numastow_nodes()
{
	local begun='' path sysroot

	_numastow_sysroot
	[[ ${1:-} != list || $cur != *[,+!-]* ]] || begun=${cur%"${cur##*[,+!-]}"}
	for path in "$sysroot"/sys/devices/system/node/node[0-9]*; do
		[[ ! -d $path ]] || _numastow_offer "$begun${path##*/node}"
	done
}

# _numastow_containers [names] - containers with a grant: the beginnings of their ids; and their names
_numastow_containers()
{
	local line sysroot

	_numastow_sysroot
	while read -r line; do
		if [[ $line != =* ]]; then
			_numastow_offer "$line"
		elif [[ ${1:-} == names ]]; then
			_numastow_offer "${line#=}"
		fi
	done < <(timeout 2 numastow ledger --json ${sysroot:+--sysroot "$sysroot"} 2>/dev/null </dev/null | LC_ALL=C sed -nE '
@NAMES@')
}

# _numastow_pids - processes, once a digit is there
_numastow_pids()
{
	local path

	[[ $cur == [0-9]* ]] || return 0
	for path in /proc/[0-9]*; do
		_numastow_offer "${path##*/}"
	done
}

# _numastow_request KEY - a KEY=VALUE of a request, or the value of KEY
_numastow_request()
{
	case $1 in
	'')
		compopt -o nospace
		_numastow_offer cpus= cpu-mode= memory= hugepages-2Mi= hugepages-1Gi= policy= nodes=
		;;
	cpu-mode) _numastow_offer shared exclusive isolated ;;
	policy) _numastow_offer single-numa-node restricted best-effort spread ;;
	nodes) _numastow_nodes list ;;
	esac
}

# _numastow_kind KIND [KEY] - complete $cur as what the table calls KIND
_numastow_kind()
{
	local words

	case $1 in
	*'|'*)
		IFS='|' read -ra words <<<"$1"
		_numastow_offer "${words[@]}"
		;;
	file) compopt -o default ;;
	directory)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		;;
	program) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	user) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
	machine) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
	nodes) _numastow_nodes list ;;
	node) _numastow_nodes ;;
	id) _numastow_containers ;;
	container)
		_numastow_containers names
		_numastow_pids
		;;
	process)
		_numastow_containers
		_numastow_pids
		;;
	pid) _numastow_pids ;;
	request) _numastow_request "${2:-}" ;;
	esac
}

# _numastow_argument N - complete the Nth of the words that are no options, by $expected
_numastow_argument()
{
	if (($1 < ${#expected[@]})); then
		_numastow_kind "${expected[$1]%...}"
	elif [[ ${expected[*]} == *... ]]; then
		_numastow_kind "${expected[-1]%...}"
	fi
}

# _numastow_program INDEX - what runs there has completions of its own
_numastow_program()
{
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	else
		compopt -o default
	fi
}

# _numastow_value [KEY] - complete $kind as the value behind a "=", where that may be all there is
_numastow_value()
{
	[[ $cur != = ]] || cur=
	_numastow_kind "$kind" "${1:-}"
}

# Bash has "=" as a word of its own.
_numastow()
{
	local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} word commands options kinds arguments kind
	local -a expected
	local -i i n=0 ended=0

	COMPREPLY=()
	[[ $command != @(explain|release) || " ${COMP_WORDS[*]} " != *' --cluster '* ]] || command+=-cluster
	_numastow_table "$command"
	if ((COMP_CWORD == 1)); then
		# shellcheck disable=SC2086 # words
		_numastow_offer $commands --help --version
		return
	fi
	read -ra expected <<<"$arguments"
	for ((i = 2; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]} kind=
		if ((!ended)) && [[ $word == -- ]]; then
			ended=1
			continue
		elif ((!ended)) && [[ $word == -?* ]]; then
			[[ " $kinds " != *" $word="* ]] || kind=${kinds#*" $word="} kind=${kind%% *}
			if [[ ${COMP_WORDS[i + 1]} == = ]]; then
				kind=${kind#[} kind=${kind%]}
				i+=1
			elif [[ ! $kind || $kind == \[* ]]; then
				continue
			fi
			i+=1
			if ((i >= COMP_CWORD)); then
				_numastow_value
				return
			fi
			word=${COMP_WORDS[i]}
		elif [[ $arguments == *request* ]]; then
			kind=request
		elif [[ ${expected[n]:-} == program* ]]; then
			_numastow_program "$i"
			return
		else
			n+=1
		fi
		if [[ $kind == request && ${COMP_WORDS[i + 1]} == = ]]; then
			i+=2
			if ((i >= COMP_CWORD)); then
				_numastow_value "$word"
				return
			fi
		fi
	done
	if ((!ended)) && [[ $cur == -* ]]; then
		# shellcheck disable=SC2086 # words
		_numastow_offer $options
	else
		_numastow_argument "$n"
	fi
}

complete -F _numastow numastow

