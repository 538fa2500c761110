# shellcheck shell=bash
# The guest's kernel: Debian's own, unpacked into a cache, never installed.

# The cloud flavour has no 9p, so it is always the generic one.
readonly VM_KERNEL_META=linux-image-amd64

# What the initial RAM disk needs to reach the host's files; the rest is loaded from there.
readonly VM_BOOT_MODULES=(virtio_pci 9pnet_virtio 9p overlay virtio_console)

vm_cache_dir()
{
	echo "${NUMASTOW_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/numastow/vm}"
}

# vm_kernel_dir - print the folder with vmlinux and lib/modules/VERSION, after fetching it when missing.
vm_kernel_dir()
{
	local cache
	cache=$(vm_cache_dir)
	mkdir -p "$cache" || return 1
	(
		# Two runs at the same time: the second waits for the first one's download.
		flock 9
		[[ -e $cache/current/complete ]] || vm_kernel_fetch "$cache"
	) 9>"$cache/lock" >&2 || return 1
	readlink -f "$cache/current"
}

vm_kernel_package()
{
	apt-cache depends "$VM_KERNEL_META" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

# vm_kernel_unpack BZIMAGE OUT - take the ELF file out of a bzImage. QEMU can start that as well, and a
# guest under emulation takes 6 s to unpack the kernel by itself. Fails when it is packed by neither xz nor zstd.
# See the boot protocol in the kernel's Documentation/x86/boot.rst for the fields.
vm_kernel_unpack()
{
	local image=$1 out=$2 sectors offset length packer

	sectors=$(od -An -tu1 -j$((0x1f1)) -N1 "$image") || return 1
	offset=$(od -An -tu4 -j$((0x248)) -N4 "$image") || return 1
	length=$(od -An -tu4 -j$((0x24c)) -N4 "$image") || return 1
	offset=$(((sectors + 1) * 512 + offset))
	case $(od -An -tx1 -j$offset -N4 "$image") in
	' fd 37 7a 58') packer=xz ;;
	' 28 b5 2f fd') packer=zstd ;;
	*) return 1 ;;
	esac
	# The last 4 bytes are the unpacked size, not the packer's. Not busybox's unxz: it lacks the x86 filter.
	dd if="$image" iflag=skip_bytes,count_bytes status=none bs=64K \
		skip=$offset count=$((length - 4)) | $packer -dc >"$out" 2>/dev/null
	[[ ${PIPESTATUS[1]} == 0 && -s $out ]]
}

# vm_kernel_install FOLDER - in place of the package in FOLDER: vmlinux, config, lib/modules/VERSION, and "complete".
# (Not by "set -e": bash ignores it in what stands before "||".)
vm_kernel_install()
(
	cd "$1" || exit 1
	# The kernel and the modules; not those of hardware that no virtual machine has.
	dpkg-deb --fsys-tarfile ./*.deb | tar -x \
		--exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/sound' \
		--exclude='*/drivers/net/wireless' --exclude='*/drivers/infiniband' \
		--exclude='./usr/share' --exclude='./usr/lib/linux-image-*' || exit 1
	# Debian 13 has them in /usr, and packed, which busybox cannot load.
	if [[ -d usr/lib/modules ]]; then
		mkdir -p lib && mv usr/lib/modules lib/modules || exit 1
	fi
	find lib/modules -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P 2 xz -d || exit 1
	vm_kernel_unpack boot/vmlinuz-* vmlinux || mv boot/vmlinuz-* vmlinux || exit 1
	mv boot/config-* config || exit 1
	rm -rf ./*.deb boot usr
	busybox depmod -b . "$(basename lib/modules/*)" && touch complete
)

# vm_kernel_v1_cpuset KERNEL_DIR - whether cgroup v1 has cpusets there. From Linux 6.11 on that is an option, which
# Debian 13 has not.
vm_kernel_v1_cpuset()
{
	grep -qs '^CONFIG_CPUSETS_V1=y' "$1/config" || ! grep -qs 'CONFIG_CPUSETS_V1' "$1/config"
}

vm_kernel_fetch()
{
	local cache=$1 package work version

	package=$(vm_kernel_package)
	if [[ ! $package ]]; then
		echo "vm: no $VM_KERNEL_META in the package lists, updating them"
		apt-get -qq update || return 1
		package=$(vm_kernel_package)
	fi
	[[ $package ]] || {
		echo "vm: apt knows no $VM_KERNEL_META: cannot get a kernel"
		return 1
	}
	echo "vm: fetching $package"
	work=$(mktemp -d "$cache/fetch.XXXXXX") || return 1
	{
		(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") &&
			vm_kernel_install "$work"
	} || {
		rm -rf "$work"
		echo "vm: could not fetch and unpack $package"
		return 1
	}
	version=$(basename "$work"/lib/modules/*)
	rm -rf "${cache:?}/$version"
	mv "$work" "$cache/$version"
	chmod 755 "$cache/$version"
	ln -sfn "$version" "$cache/current"
}

# vm_initrd KERNEL_DIR INIT OUT ROOT LIST - make the initial RAM disk: busybox, INIT, VM_BOOT_MODULES with
# the modules that they depend on, and in /ram those files of ROOT whose paths LIST has.
vm_initrd()
{
	local kernel=$1 init=$2 out=$3 files=$4 list=$5 tree=$3.tree version modules wanted

	version=$(basename "$kernel"/lib/modules/*)
	modules=lib/modules/$version
	mkdir -p "$tree"/{bin,dev,proc,sys,lower,upper,newroot,"$modules"}
	cp "$(command -v busybox)" "$tree/bin/busybox"
	install -m 755 "$init" "$tree/init"

	# modules.dep has one line for a module: "path: path-of-dependency...".
	wanted=" ${VM_BOOT_MODULES[*]} "
	awk -v wanted="$wanted" '
		{
			path = $1; sub(/:$/, "", path)
			name = path; sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub(/-/, "_", name)
			if (index(wanted, " " name " ")) todo[path] = 1
			sub(/^[^:]*:/, ""); needs[path] = $0
		}
		END {
			do {
				more = 0
				for (p in todo) {
					n = split(needs[p], d, " ")
					for (i = 1; i <= n; i++)
						if (!(d[i] in todo)) { todo[d[i]] = 1; more = 1 }
				}
			} while (more)
			for (p in todo) print p
		}' "$kernel/$modules/modules.dep" >"$tree/list"
	(cd "$kernel/$modules" && cpio --quiet -pdm "$tree/$modules" <"$tree/list") ||
		return 1
	cp "$kernel/$modules"/modules.{dep,builtin,order} "$tree/$modules/" || return 1
	rm "$tree/list"
	mkdir "$tree/ram"
	sed 's,^/,,' "$list" | (cd "$files" && cpio --quiet -pdm "$tree/ram") || return 1
	(cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) >"$out" || return 1
	rm -rf "$tree"
}
