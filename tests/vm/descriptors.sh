#!/bin/bash
# The scheduler at the unit's limit of descriptors, which not every machine lets a test have, and a guest does: more
# silent connections than that, while a right client is answered.
#
# usage: tests/vm/run v2-one tests/vm/descriptors.sh
. "$(dirname "$0")/lib.sh"

limit=$(sed -n 's/^LimitNOFILE=//p' "$vm_root/deploy/systemd/numastow-scheduler.service")
check "a limit of $limit descriptors may be set" ulimit -Hn "$limit"
while read -r line; do
	case $line in
	"ok - "*) ok "${line#ok - }" ;;
	"not ok - "*) fail "${line#not ok - }" ;;
	*) echo "# $line" ;;
	esac
done < <(python3 "$vm_root/tests/integration/fleet-attacks.py" --unit-limit 2>&1)
((vm_passed > 5)) || fail "the attack was made"

vm_summary
