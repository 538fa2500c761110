#!/bin/bash
# Look for the words of tests/tools/words, and print each with what stands instead of it.
#
# usage: check-words.sh
#
# Names are looked for in C without comments and strings; prose in documents, man pages, and the strings of the programs.
set -uo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
list=tests/tools/words

# prose_of FILE... - "FILE:LINE:TEXT"; of C the strings, of documents what is no code
prose_of()
{
	awk '
		FNR == 1 { code = 0 }
		FILENAME ~ /[.]md$/ && /^```/ { code = !code; next }
		code { next }
		FILENAME ~ /[.][ch]$/ {
			text = ""
			while (match($0, /"([^"\\]|\\.)*"/)) {
				text = text " " substr($0, RSTART + 1, RLENGTH - 2)
				$0 = substr($0, RSTART + RLENGTH)
			}
			if (text != "")
				print FILENAME ":" FNR ":" text
			next
		}
		{ gsub(/`[^`]*`/, "_"); gsub(/\]\([^)]*\)/, "]"); gsub(/\\-/, "-"); print FILENAME ":" FNR ":" $0 }' "$@"
}

# names_of FILE... - the same of C, without comments and strings
names_of()
{
	awk '
		FNR == 1 { comment = 0 }
		{
			if (comment && !sub(/^.*\*\//, ""))
				next
			comment = 0
			gsub(/"([^"\\]|\\.)*"/, "\"\"")
			gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "")
			sub(/\/\/.*/, "")
			comment = sub(/\/\*.*/, "")
			print FILENAME ":" FNR ":" $0
		}' "$@"
}

# looked_for WHERE TEXT - each pattern of the list that is in the text
looked_for()
{
	local where pattern instead found bad=0

	while IFS=$'\t' read -r where pattern instead; do
		[[ $where == "$1" ]] || continue
		case $where in
		name) found=$(grep -E "^[^:]*:[0-9]+:.*\b($pattern)\b" <<<"$2") ;;
		prose | document) found=$(grep -iE "^[^:]*:[0-9]+:.*\b($pattern)\b" <<<"$2") ;;
		esac
		[[ $found ]] || continue
		echo "\"$pattern\" is no word here; $instead:"
		cut -c 1-160 <<<"$found" | head -n 10
		bad=1
	done < <(grep -v '^#' "$list")
	return "$bad"
}

bad=0
mapfile -t documents < <(git ls-files --cached --others --exclude-standard -- '*.md' 'docs/man/*.[1-8]' 'deploy/*.yaml' | grep -v '^CHANGELOG')
mapfile -t programs < <(git ls-files --cached --others --exclude-standard -- {lib,agent,scheduler,cli,oci-hook}/{,*/}*.[ch])
mapfile -t code < <(git ls-files --cached --others --exclude-standard -- '*.[ch]')
grep -vE $'^(#.*|(name|prose|document)\t[^\t]+\t[^\t]+)$' "$list" && {
	echo "$list: these lines have not three columns"
	bad=1
}
looked_for prose "$(prose_of "${documents[@]}" "${programs[@]}")" || bad=1
looked_for document "$(prose_of "${documents[@]}")" || bad=1
looked_for name "$(names_of "${code[@]}")" || bad=1
exit "$bad"
