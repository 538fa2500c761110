#!/bin/bash
# Install the Debian packages that a set of make targets needs; a quick no-op when all are installed.
#
# usage: install-deps.sh [--list] [build|run|guest|test|lint]...      (default: build)
#
#   build   compile everything
#   run     build, and start containers with it
#   guest   run, and the scripts that run in virtual machines
#   test    guest, and every test, also those in virtual machines
#   lint    the checkers and the formatter
#
# With --list print the packages, one per line, and install nothing.
set -euo pipefail

readonly BUILD=(gcc make pkg-config libc6-dev libjson-c-dev libsqlite3-dev
	libyaml-dev libsystemd-dev libnuma-dev libgrpc-dev libprotobuf-c-dev protobuf-c-compiler
	protobuf-compiler libprotobuf-dev libmicrohttpd-dev libgnutls28-dev libssl-dev
	libsmartcols-dev libncurses-dev libcurl4-openssl-dev libcgroup-dev)
readonly RUN=(podman crun runc conmon busybox-static jq openssl)
# Only "systemd", for a virtual machine's PID 1: systemd-sysv would replace this machine's init. libnss-systemd
# knows the name of a service's dynamic user; procps and e2fsprogs are missing where a system is minimal.
readonly GUEST=(systemd dbus libnss-systemd numactl util-linux procps e2fsprogs strace python3 iproute2 curl
	libcmocka-dev ccache)
# mmdebstrap makes the other release's root; etcd is what the scheduler's store can be in; a guest of this release has
# Podman without root, which needs uidmap; zsh and fish, for which there are completions.
TEST=(uidmap qemu-system-x86 seabios cpio hwloc-nox libnuma1 bzip2 xz-utils mmdebstrap
	etcd-server zsh fish tmux
	protobuf-compiler-grpc python3-grpcio python3-protobuf python3-yaml python3-jsonschema)
# man-db and bsdextrautils (col) render the man pages.
LINT=(clang clang-format clang-tidy cppcheck shellcheck git man-db bsdextrautils)
# clang's run-time libraries have its version in their name. jq 1.6 compiles its own library at each start, for 0.2 s
# under emulation: guests take gojq where jq is that old.
case $(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}") in
trixie) LINT+=(libclang-rt-19-dev) ;;
*) LINT+=(libclang-rt-14-dev) TEST+=(gojq) ;;
esac
# Builds Kubernetes' own programs; an older one fetches the version that is needed. ca-certificates for what it fetches.
TEST+=(ca-certificates)
[[ -x /usr/local/go/bin/go ]] || command -v go >/dev/null || TEST+=(golang-go)
readonly LINT TEST

# Good to have where the distribution has them; nothing fails without.
readonly RUN_OPTIONAL=(netavark)

die()
{
	echo "install-deps: $*" >&2
	exit 1
}

list=
if [[ ${1:-} == --list ]]; then
	list=1
	shift
fi
want=()
optional=()
for set in "${@:-build}"; do
	case $set in
	build) want+=("${BUILD[@]}") ;;
	run) want+=("${BUILD[@]}" "${RUN[@]}") optional+=("${RUN_OPTIONAL[@]}") ;;
	guest) want+=("${BUILD[@]}" "${RUN[@]}" "${GUEST[@]}") optional+=("${RUN_OPTIONAL[@]}") ;;
	test) want+=("${BUILD[@]}" "${RUN[@]}" "${GUEST[@]}" "${TEST[@]}") optional+=("${RUN_OPTIONAL[@]}") ;;
	lint) want+=("${LINT[@]}") ;;
	-h | --help)
		sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
		exit 0
		;;
	*) die "unknown set '$set': build, run, guest, test or lint" ;;
	esac
done

if [[ $list ]]; then
	printf '%s\n' "${want[@]}" | sort -u
	exit 0
fi

command -v dpkg-query >/dev/null ||
	die "this machine has no dpkg; install the likes of: ${want[*]}"

# missing PACKAGE... - those that are not installed, one a line. A virtual package (pkg-config on newer
# releases) counts when an installed package provides it.
missing()
{
	local -A have=()
	local name status provides p

	while IFS='|' read -r name status provides; do
		[[ $status == ii* ]] || continue
		have[$name]=1
		for p in ${provides//,/ }; do
			have[$p]=1
		done
	done < <(dpkg-query -W -f '${Package}|${db:Status-Abbrev}|${Provides}\n')
	for p in "$@"; do
		[[ ${have[$p]:-} ]] || echo "$p"
	done
}

mapfile -t needed < <(missing "${want[@]}")
if ((${#needed[@]} == 0)); then
	exit 0
fi

command -v apt-get >/dev/null || die "no apt-get here; missing: ${needed[*]}"
as_root=()
if ((EUID != 0)); then
	command -v sudo >/dev/null || die "run as root to install: ${needed[*]}"
	as_root=(sudo)
fi

export DEBIAN_FRONTEND=noninteractive
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0
	-o DPkg::Lock::Timeout=300)

echo "install-deps: installing ${needed[*]}"
"${apt[@]}" update </dev/null || die "apt-get update failed; missing: ${needed[*]}"
"${apt[@]}" install --no-install-recommends "${needed[@]}" </dev/null >/dev/null ||
	die "apt-get could not install: ${needed[*]}"

mapfile -t extra < <(missing "${optional[@]}")
for p in "${extra[@]}"; do
	"${apt[@]}" install --no-install-recommends "$p" </dev/null >/dev/null 2>&1 ||
		echo "install-deps: went on without $p"
done

mapfile -t needed < <(missing "${want[@]}")
((${#needed[@]} == 0)) || die "still missing: ${needed[*]}"
