#!/bin/bash
# Build the static helper programs of the virtual machine tests; quick when nothing has changed.
#
# usage: build-progs.sh [OUTDIR]      (default: build/vm in the checkout)
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
out=${1:-$here/../../build/vm}
mkdir -p "$out"
for source in "$here"/progs/*.c; do
	program=$out/$(basename "$source" .c)
	[[ $program -nt $source ]] && continue
	${CC:-gcc} -std=gnu17 -O1 -g -Wall -Wextra -static -o "$program.$$" "$source"
	mv "$program.$$" "$program"
done
