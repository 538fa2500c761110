# shellcheck shell=bash
# The other Debian: a second root for guests, with that release's own kernel, systemd, Podman, crun and runc, and
# with what builds our programs against its libraries. It is made once, into the cache, and is never changed
# afterwards; those that were not used for two weeks go when another is made.

# What a guest's programs need; install-deps.sh has the lists.
vm_guest_packages()
{
	# shellcheck disable=SC2154 # set by tests/vm/run
	"$vm_here/../tools/install-deps.sh" --list guest
}

# vm_release_here - this machine's Debian release, or nothing
vm_release_here()
{
	# shellcheck source=/dev/null
	(. /etc/os-release 2>/dev/null && [[ ${ID:-} == debian ]] && echo "${VERSION_CODENAME:-}")
}

# vm_release_other - the release that guests run beside this machine's, or nothing
vm_release_other()
{
	case $(vm_release_here) in
	bookworm) echo trixie ;;
	trixie) echo bookworm ;;
	esac
}

# vm_root_dir RELEASE - print the folder with that release's files, after making it when it is missing. Says why
# and fails where it cannot be made.
vm_root_dir()
{
	local cache key root
	cache=$(vm_cache_dir)
	mkdir -p "$cache" || return 1
	key=$(vm_guest_packages | sha256sum | cut -c 1-12)
	root=$cache/root-$1-$key
	(
		flock 9
		[[ -e $root/kernel/complete ]] || vm_root_fetch "$cache" "$1" "$root"
	) 9>"$cache/lock-root" >&2 || return 1
	touch "$root" # so that it is known to be in use
	echo "$root"
}

# vm_sources RELEASE - this machine's own package sources, of Debian, with that release in place of its own
vm_sources()
{
	local here
	here=$(vm_release_here)
	# shellcheck disable=SC2016 # apt's own fields
	apt-get indextargets --format '$(ORIGIN) $(SIGNED_BY) $(REPO_URI) $(CODENAME) $(RELEASE)' \
		'Identifier: Packages' 'Component: main' 2>/dev/null |
		awk -v here="$here" -v want="$1" '
			$1 == "Debian" {
				# Without a key of its own, the field is the name of the field.
				signed = $2 ~ /^\// ? "[signed-by=" $2 "] " : ""
				suite = index($(NF - 1), here) == 1 ? $(NF - 1) : $NF
				if (index(suite, here) != 1)
					next
				sub("^" here, want, suite)
				print "deb " signed $(NF - 2) " " suite " main"
			}' | sort -u
}

vm_root_fetch()
{
	local cache=$1 release=$2 root=$3 work sources packages

	((EUID == 0)) || {
		echo "vm: only root can make a root of $release"
		return 1
	}
	command -v mmdebstrap >/dev/null || {
		echo "vm: no mmdebstrap here; tests/tools/install-deps.sh test gets it"
		return 1
	}
	sources=$(vm_sources "$release")
	if [[ ! $sources ]]; then
		apt-get -qq update || return 1
		sources=$(vm_sources "$release")
	fi
	[[ $sources ]] || {
		echo "vm: apt has no source of Debian's packages: cannot get $release"
		return 1
	}
	packages=$(vm_guest_packages | paste -sd ,)
	# What another checkout uses, with another list of packages, stays.
	find "$cache" -maxdepth 1 \( -name 'root-*' -mtime +13 -o -name 'making.*' \) -exec rm -rf {} +
	work=$(mktemp -d "$cache/making.XXXXXX") || return 1
	echo "vm: making a root of $release, once; this takes a minute or more"
	# What this machine knows about reaching its sources (proxies, checks of dates) holds for the same sources.
	apt-config dump | grep -E '^Acquire::' |
		grep -vE '^Acquire::(IndexTargets|Changelogs|cdrom|CompressionTypes|GzipIndexes)' >"$work/apt.conf"
	printf '%s\n' "$sources" >"$work/sources"
	# shellcheck disable=SC2016 # for the hook's shell
	{
		mmdebstrap --quiet --mode=root --variant=apt \
			--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
			--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
			--aptopt="$work/apt.conf" --aptopt='APT::Install-Recommends "false"' \
			--include="$packages" \
			--customize-hook='mkdir "$1/kernel" "$1/checkout" && cd "$1/kernel" &&
				export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" &&
				apt-get -qq -o APT::Sandbox::User=root download "$(apt-cache depends '"$VM_KERNEL_META"' |
					sed -n "s/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p" | head -n 1)"' \
			"$release" "$work/root" "$work/sources" </dev/null &&
			vm_kernel_install "$work/root/kernel" && mv "$work/root" "$root"
	} || {
		rm -rf "$work"
		echo "vm: could not make a root of $release"
		return 1
	}
	rm -rf "$work"
}

# vm_root_do RELEASE ROOT CHECKOUT COMMAND - run a shell command in that root, with the checkout as its current folder.
# What it builds goes to CHECKOUT/build/root-RELEASE, which a guest sees in the place of CHECKOUT/build. What ccache keeps
# is in the cache, for other checkouts, too.
vm_root_do()
{
	local release=$1 root=$2 top=$3 command=$4 compiled
	compiled=$(vm_cache_dir)/ccache-$release

	mkdir -p "$top/build/root-$release" "$compiled"
	(
		flock 9
		# shellcheck disable=SC2016 # for the inner shell
		unshare --mount --propagation private sh -ec '
			mount --bind "$1" "$2/checkout"
			mount --bind "$1/build/root-$3" "$2/checkout/build"
			mount --bind "$5" "$2/mnt"
			mount -t proc proc "$2/proc"
			mount --rbind /dev "$2/dev"
			mount -t tmpfs tmp "$2/tmp"
			exec chroot "$2" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CI=1 \
				CCACHE_DIR=/mnt CCACHE_MAXSIZE=1G sh -ec "cd /checkout; $4"
		' sh "$top" "$root" "$release" "$command" "$compiled" </dev/null
	) 9>"$top/build/root-$release/lock"
}

# vm_root_build RELEASE ROOT CHECKOUT - build the programs against that release's libraries, with its compiler
vm_root_build()
{
	vm_root_do "$@" 'make -j2 CC="ccache gcc" all tools; tests/vm/build-progs.sh'
}
