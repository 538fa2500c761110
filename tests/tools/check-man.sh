#!/bin/bash
# Check that every man page renders without a warning, and that every long option and every command
# that a program's --help names is in its page. Prints what is missing.
#
# usage: check-man.sh [BUILDDIR]      (default: build/release)
set -uo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
readonly BUILD=${1:-build/release}
bad=0

complain()
{
	echo "$*"
	bad=1
}

# page_text PAGE - as read on a terminal, without a line that is broken
page_text()
{
	MANWIDTH=1000 LC_ALL=C man -l "$1" 2>/dev/null | col -bx
}

# check_options PAGE HELP - the page has each --option of the help text, with its hyphens
check_options()
{
	local page=$1 help=$2 text option

	if [[ ! -f $page ]]; then
		complain "$page is missing"
		return
	fi
	text=$(page_text "$page")
	while read -r option; do
		grep -qE -- "(^|[^-a-z])$option([^-a-z]|\$)" <<<"$text" ||
			complain "$page does not mention $option"
	done < <(grep -oE -- '--[a-z][a-z0-9-]*' <<<"$help" | sort -u)
}

for page in docs/man/*.[1-8]; do
	warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z \
		"$page" 2>&1 >/dev/null)
	[[ ! $warnings ]] || complain "$page: $warnings"
done

make -s "$BUILD/numastow" "$BUILD/numastow-hook" "$BUILD/numastow-agent" \
	"$BUILD/numastow-scheduler" "$BUILD/numastow-fleet" "$BUILD/numastow-view" "$BUILD/numastow-top" "$BUILD/kubectl-numastow" 2>&1 | grep -E '(error|Error)' && exit 1

check_options docs/man/numastow-hook.8 "$("$BUILD/numastow-hook" --help)"
text=$(page_text docs/man/numastow-hook.8)
for command in apply release precreate; do
	grep -qw -- "$command" <<<"$text" || complain "numastow-hook.8 does not mention $command"
done

check_options docs/man/numastow-ca.8 "$(deploy/numastow-ca --help)"
text=$(page_text docs/man/numastow-ca.8)
for command in init agent scheduler client; do
	grep -q "numastow-ca $command" <<<"$text" || complain "numastow-ca.8 does not mention $command"
done

page=docs/man/kubectl-numastow.1
check_options "$page" "$("$BUILD/kubectl-numastow" --help)"
while read -r command; do
	grep -q "^\.BR $command " "$page" || complain "$page does not mention $command"
	check_options "$page" "$("$BUILD/kubectl-numastow" "$command" --help)"
done < <("$BUILD/kubectl-numastow" --help | sed -n '/^Commands:/,/^$/{s/^  \([a-z-]*\) .*/\1/p}')

# A daemon's setting is an option on one page, and a key on another.
for daemon in agent scheduler; do
	help=$("$BUILD/numastow-$daemon" --help)
	check_options "docs/man/numastow-$daemon.8" "$help"
	page=docs/man/numastow-$daemon.yaml.5
	while read -r key; do
		grep -qE "^\.BR? .*\b${key//-/\\\\-}( |\$)" "$page" || complain "$page does not mention $key"
	done < <(sed -nE 's/^ +--([a-z-]+).*/\1/p' <<<"$help" |
		grep -vxE 'config|check-config|copy-store|sysroot|help')
done

# Keys of the client's file are what every command of the fleet has.
page=docs/man/numastow-client.yaml.5
while read -r key; do
	grep -qE "^\.BR? .*\b${key//-/\\\\-}( |\$)" "$page" || complain "$page does not mention $key"
done < <("$BUILD/numastow" nodes --help |
	sed -nE '1,/^These are keys/d;s/^ +--([a-z-]+).*/\1/p' | grep -vx config)
for command in explain release; do
	check_options docs/man/numastow.1 "$("$BUILD/numastow" "$command" --cluster --help)"
done

check_options docs/man/numastow.1 "$("$BUILD/numastow" --help)"
text=$(page_text docs/man/numastow.1)
while read -r command; do
	grep -qE "numastow(-| )$command\b" <<<"$text" ||
		complain "numastow.1 does not mention $command"
	# A command with a page of its own has its options there.
	page=docs/man/numastow-$command.1
	[[ -f $page ]] || page=docs/man/numastow.1
	check_options "$page" "$("$BUILD/numastow" "$command" --help)"
done < <("$BUILD/numastow" --help | sed -n '/^Commands:/,/^$/{s/^  \([a-z-]*\) .*/\1/p}')

exit "$bad"
