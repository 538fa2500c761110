#!/bin/bash
# tests/vm/run starts this in the guest: it sets up the network and the folders of the node's programs, and then runs the
# test's commands (guest.py).
#
# usage: tests/vm/run --env PARTS=DIR --env CLUSTER=DIR --env PROGRAMS=DIR SHAPE tests/kubernetes/guest.sh PORT
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")

modprobe -a virtio_net overlay || exit 1
ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2 || exit 1
hostname numa
# Overlays lie on RAM, not on the overlay that is this machine's root.
for dir in /var/lib/containerd /var/lib/kubelet /var/lib/numastow; do
	mkdir -p $dir && mount -t tmpfs -o mode=711 node $dir || exit 1
done
mkdir -p /etc/numastow /run/cdi /run/node
# kubelet needs a resolv.conf, which pods get, too.
[[ -s /etc/resolv.conf ]] || echo nameserver 10.0.2.3 >/etc/resolv.conf
exec python3 "$here/guest.py" 10.0.2.2 "$1"
