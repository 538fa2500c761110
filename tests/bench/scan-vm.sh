#!/bin/bash
# Measures how long it takes to find what is in 16 GiB of memory, in a virtual machine with that much (sparse) memory.
#
# usage: tests/bench/scan-vm.sh [RUNS]            boots it, and prints the table
#
# A program uses 1 GiB; the rest is as after boot. Emulation slows down the kernel and programs alike, so the ratios are
# meaningful, but the seconds are not.
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
scan=$root/build/release/tests/bench/scan

if [[ ! ${NUMASTOW_VM:-} ]]; then
	make -s -C "$root" build/release/tests/bench/scan || exit
	# The shape's 4 GiB, and a DIMM of 12.
	exec "$root/tests/vm/run" --timeout 500 --quiet --env RUNS="${1:-11}" \
		--qemu '-object memory-backend-ram,id=large-mem,size=12G -device pc-dimm,id=large,memdev=large-mem,node=1' \
		v2 "$here/scan-vm.sh"
fi

# shellcheck source=../vm/lib.sh
. "$root/tests/vm/lib.sh"
for block in /sys/devices/system/memory/memory*; do
	[[ $(<"$block/state") == online ]] || echo online_movable >"$block/state"
done
# shellcheck disable=SC2154 # set in lib.sh
"$vm_progs/touch" --node 1 --hold 1024 >"$vm_work/touch.out" &
holder=$!
eventually 120 grep -q touched "$vm_work/touch.out" || echo "the memory was not touched"
"$scan" "${RUNS:-11}" | awk -F'\t' '
	NR == 1 { base = $2 }
	{ gib = $4 / 2 ^ 30; printf "%-34s %6.3f s of %.1f GiB, %6.3f s for 16 GiB, %.2fx the three files\n",
		$1, $2 / 1e9, gib, $2 / 1e9 * 16 / gib, $2 / base }'
rc=${PIPESTATUS[0]}
kill "$holder"
exit "$rc"
