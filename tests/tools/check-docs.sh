#!/bin/bash
# Check the documents: that the files, links, functions and make targets that they name exist, and that the README is
# short and lists every document. Prints errors.
#
# usage: check-docs.sh
#
# shellcheck disable=SC2016 # backquotes are Markdown's
set -uo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
mapfile -t documents < <(git ls-files --cached --others --exclude-standard -- '*.md')
bad=0

complain()
{
	echo "$*"
	bad=1
}

# defines FILE FUNCTION - whether a C file has that function's body
defines()
{
	FUNCTION=$2 perl -0777 -ne 'exit !/^[a-z_][^\n;{}]*\b\Q$ENV{FUNCTION}\E\([^;{}]*\)\s*\n\{/m' "$1"
}

# functions_of DOCUMENT - "FILE FUNCTION" for each row of a table that begins with a file and a function, and for each
# "`function()` in `file`" of its text
functions_of()
{
	sed -nE 's/^\| `([^`]+)` \| `([a-z0-9_]+)\(\)` \|.*/\1 \2/p' "$1"
	tr '\n' ' ' <"$1" | grep -oE '`[a-z0-9_]+\(\)` in `[^`]+`' | sed -E 's/`([a-z0-9_]+)\(\)` in `([^`]+)`/\2 \1/'
}

# wrong_functions DOCUMENT - prints those that are not where it says
wrong_functions()
{
	local file function n=0

	while read -r file function; do
		n=$((n + 1))
		if [[ ! -f $file ]]; then
			echo "$1 names $file, which is not there"
		elif ! defines "$file" "$function"; then
			echo "$1: $file does not define $function()"
		fi
	done < <(functions_of "$1")
	((n > 0)) || echo "$1 names no function"
}

# anchors DOCUMENT - its headings as the links to them are written
anchors()
{
	sed -nE '/^```/,/^```/d; s/^#+ +//p' "$1" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# check_links DOCUMENT - each relative link leads to a file, and to a heading of it
check_links()
{
	local from=$1 link file anchor

	while read -r link; do
		file=${link%%#*}
		anchor=
		[[ $link != *#* ]] || anchor=${link#*#}
		file=${file:+$(dirname "$from")/$file}
		file=${file:-$from}
		if [[ ! -e $file ]]; then
			complain "$from: the link to $link leads nowhere"
		elif [[ $anchor ]] && ! anchors "$file" | grep -qx -- "$anchor"; then
			complain "$from: the link to $link leads to no heading"
		fi
	done < <(grep -oE '\]\([^)]+\)' "$from" | sed -E 's/^\]\(|\)$//g' | grep -vE '^[a-z]+:' | sort -u)
}

# check_names DOCUMENT - files in `...` whose folder says that they are of this repository; `make` targets
check_names()
{
	local name

	while read -r name; do
		[[ -e $name || -e $name.c || -e $(dirname "$1")/$name ]] || compgen -G "$name" >/dev/null ||
			complain "$1 names $name, which is not there"
	done < <(grep -oE '`(tests|lib|agent|scheduler|cli|oci-hook|deploy|proto|docs)/[A-Za-z0-9_./*-]+`' "$1" | tr -d '`' | sort -u)
	while read -r name; do
		grep -qE "^$name:" Makefile ./*/module.mk ./*/*/module.mk tests/lint.mk 2>/dev/null ||
			complain "$1 names make $name, which is no target"
	done < <({
		grep -oE '`make [a-z-]+[^`]*`' "$1" | tr -d '`'
		sed -nE '/^```/,/^```/s/^(make [a-z-]+)( .*)?$/\1/p' "$1"
	} | sed -E 's/^make (-C [^ ]+ )?//; s/ .*//' | grep -E '^[a-z-]+$' | sort -u)
}

(($(wc -l <README.md) <= 200)) || complain "README.md has $(wc -l <README.md) lines; at most 200"
for file in docs/*.md; do
	grep -qF "($file)" README.md || complain "README.md does not link to $file"
done
for page in docs/man/*.[1-8]; do
	name=${page##*/}
	grep -qF "${name%.*}(${name##*.})" README.md || complain "README.md does not name ${name%.*}(${name##*.})"
done
for file in "${documents[@]}"; do
	check_links "$file"
	check_names "$file"
done

said=$(wrong_functions docs/reading.md)
[[ ! $said ]] || complain "$said"
# That this can fail: the same text, whose first row names another file, and whose second another function.
wrong=$(mktemp)
trap 'rm -f "$wrong"' EXIT
awk '/^\| `/ && ++n == 1 { sub(/`[^`]*`/, "`no/such.c`") } /^\| `/ && n == 2 { sub(/`[a-z0-9_]*\(\)`/, "`no_such()`") } 1' \
	docs/reading.md >"$wrong"
said=$(wrong_functions "$wrong")
[[ $said == *'names no/such.c, which is not there'* && $said == *'does not define no_such()'* ]] ||
	complain "this check does not find wrong names: $said"

exit "$bad"
