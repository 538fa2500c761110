// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/compat/numactl.h"

int numactl_parse_size(const char *text, uint64_t *ret, struct stow_err *err)
{
	static const char units[] = "kKmMgG";
	uint64_t v = 0, unit = 1;
	const char *p = text, *which;
	char digits[24] = "";
	size_t n;

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		p += 2;
		if (!stow_scan_hex(&p, &v))
			goto bad;
	} else {
		n = strspn(p, "0123456789");
		if (n == 0 || n >= sizeof(digits))
			goto bad;
		memcpy(digits, p, n);
		if (stow_parse_u64(digits, UINT64_MAX, &v, NULL) < 0)
			goto bad;
		p += n;
	}
	which = *p ? strchr(units, *p) : NULL;
	if (which) {
		unit = UINT64_C(1) << ((which - units) / 2 + 1) * 10;
		p++;
	}
	if (*p || v > INT64_MAX / unit)
		goto bad;
	*ret = v * unit;
	return 0;
bad:
	return stow_err_set(err, EINVAL,
			    "\"%.64s\" is not a size like 4096, 64k, 16m or 1g, below 2^63 bytes",
			    text);
}

static int check_region(const struct numactl_shm *shm, const char *name, struct stow_err *err)
{
	if (shm->length == 0)
		return stow_err_set(err, EINVAL, "%s: it is empty; give a --length first", name);
	if (shm->length % shm->page || shm->offset % shm->page)
		return stow_err_set(err, EINVAL,
				    "%s: --offset %" PRIu64 " and --length %" PRIu64
				    " are not whole pages of %zu bytes",
				    name, shm->offset, shm->length, shm->page);
	return 0;
}

static int make_key(const struct numactl_shm *shm, const struct compat_task *task, const char *name,
		    key_t *ret, struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;

	*ret = ftok(name, shm->id);
	if (*ret != -1)
		return 0;
	if (errno != ENOENT)
		return stow_err_sys(err, errno, "key file %s", name);
	(void)compat_fail(task->program, "Creating shm key file %s mode %04o", name,
			  (unsigned int)shm->mode);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, shm->mode);
	if (fd < 0)
		return stow_err_sys(err, errno, "cannot create key file %s", name);
	*ret = ftok(name, shm->id);
	return *ret != -1 ? 0 : stow_err_sys(err, errno, "key file %s", name);
}

static size_t default_hugepage(const struct compat_task *task)
{
	_cleanup_free_ char *text = NULL;
	static const char tag[] = "\nHugepagesize:";
	char digits[24] = "";
	const char *p;
	uint64_t kib;

	(void)stow_root_read(task->root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/proc/meminfo");
	p = text ? strstr(text, tag) : NULL;
	if (p) {
		p += strlen(tag);
		p += strspn(p, " ");
		snprintf(digits, sizeof(digits), "%.*s", (int)strspn(p, "0123456789"), p);
	}
	if (stow_parse_u64(digits, UINT32_MAX, &kib, NULL) == 0)
		return kib * 1024;
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int open_segment(const struct numactl_shm *shm, const struct compat_task *task,
			const char *name, int *ret_id, struct stow_err *err)
{
	int flags = shm->huge ? SHM_HUGETLB : 0;
	key_t key;
	int r = make_key(shm, task, name, &key, err);

	if (r < 0)
		return r;
	*ret_id = shmget(key, 0, flags);
	if (*ret_id >= 0)
		return 0;
	if (errno != ENOENT)
		return stow_err_sys(err, errno, "segment of %s", name);
	if (shm->length == 0)
		return stow_err_set(err, ENOENT,
				    "segment of %s: there is none; give a --length to create it",
				    name);
	(void)compat_fail(task->program,
			  "Creating shared memory segment %s id %d mode %04o length %.fMB", name,
			  shm->id, (unsigned int)shm->mode,
			  (double)(shm->length + shm->offset) / (1 << 20));
	*ret_id = shmget(key, shm->length + shm->offset, IPC_CREAT | (int)shm->mode | flags);
	return *ret_id >= 0 ? 0
			    : stow_err_sys(err, errno,
					   "cannot create a segment of %" PRIu64 " bytes for %s",
					   shm->length + shm->offset, name);
}

int numactl_attach_segment(struct numactl_shm *shm, const struct compat_task *task,
			   const char *key_file, struct stow_err *err)
{
	struct shmid_ds is;
	void *memory;
	int id, r;

	r = open_segment(shm, task, key_file, &id, err);
	if (r < 0)
		return r;
	if (shmctl(id, IPC_STAT, &is) < 0)
		return stow_err_sys(err, errno, "segment of %s", key_file);
	shm->page = shm->huge ? default_hugepage(task) : (size_t)sysconf(_SC_PAGESIZE);
	if (shm->length == 0 && is.shm_segsz > shm->offset)
		shm->length = is.shm_segsz - shm->offset;
	if (shm->offset > is.shm_segsz || shm->length > is.shm_segsz - shm->offset)
		return stow_err_set(err, ERANGE,
				    "segment of %s has %zu bytes: --offset %" PRIu64
				    " and --length %" PRIu64 " lead beyond its end",
				    key_file, is.shm_segsz, shm->offset, shm->length);
	r = check_region(shm, key_file, err);
	if (r < 0)
		return r;
	memory = shmat(id, NULL, 0);
	if (memory == (void *)-1)
		return stow_err_sys(err, errno, "cannot attach the segment of %s", key_file);
	shm->memory = (char *)memory + shm->offset;
	shm->attached = true;
	return 0;
}

/* Open the file, or create it when a length was given; make it long enough. */
static int open_file(struct numactl_shm *shm, const char *path, struct stow_err *err)
{
	struct stat st;

	shm->fd = open(path, O_RDWR | O_CLOEXEC);
	if (shm->fd < 0 && errno == ENOENT && shm->length)
		shm->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, shm->mode);
	else if (shm->fd < 0 && errno == ENOENT)
		return stow_err_set(err, ENOENT,
				    "file %s: there is none; give a --length to create it", path);
	if (shm->fd < 0 || fstat(shm->fd, &st) < 0)
		return stow_err_sys(err, errno, "file %s", path);
	shm->page = (size_t)st.st_blksize;
	if (shm->length == 0 && (uint64_t)st.st_size > shm->offset)
		shm->length = ((uint64_t)st.st_size - shm->offset) / shm->page * shm->page;
	if (shm->length > INT64_MAX - shm->offset)
		return stow_err_set(err, EFBIG, "file %s: --offset and --length are too large",
				    path);
	if (shm->length + shm->offset > (uint64_t)st.st_size &&
	    ftruncate(shm->fd, (off_t)(shm->length + shm->offset)) < 0)
		return stow_err_sys(err, errno, "cannot make file %s %" PRIu64 " bytes long", path,
				    shm->length + shm->offset);
	return 0;
}

int numactl_attach_file(struct numactl_shm *shm, const struct compat_task *task, const char *path,
			struct stow_err *err)
{
	struct statfs fs;
	void *memory;
	int r = open_file(shm, path, err);

	if (r == 0)
		r = check_region(shm, path, err);
	if (r < 0)
		return r;
	if (fstatfs(shm->fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		(void)compat_fail(task->program,
				  "warning: %s is neither on tmpfs nor on hugetlbfs: its policy "
				  "is gone when this command ends",
				  path);
	memory = mmap(NULL, shm->length, PROT_READ | PROT_WRITE, MAP_SHARED, shm->fd,
		      (off_t)shm->offset);
	if (memory == MAP_FAILED)
		return stow_err_sys(err, errno, "cannot map file %s", path);
	shm->memory = memory;
	shm->attached = true;
	return 0;
}

void numactl_touch(struct numactl_shm *shm)
{
	/* A write that changes nothing, whatever other processes write meanwhile. */
	for (uint64_t at = 0; at < shm->length; at += shm->page)
		(void)__atomic_fetch_or(shm->memory + at, 0, __ATOMIC_RELAXED);
}

int numactl_shm_policy(struct numactl_shm *shm, const struct compat_task *task, int mode,
		       const struct stow_idset *nodes, struct stow_err *err)
{
	size_t base = (size_t)sysconf(_SC_PAGESIZE), n = shm->length / base;
	_cleanup_free_ unsigned char *resident = shm->strict ? calloc(n + 1, 1) : NULL;

	/* The kernel compares the pages that this process has mapped: map those that are there. */
	if (resident && mincore(shm->memory, shm->length, resident) == 0)
		for (size_t i = 0; i < n; i++)
			if (resident[i] & 1)
				(void)*(volatile const char *)(shm->memory + i * base);
	return compat_bind_memory(task, shm->memory, shm->length, mode, nodes, shm->strict, err);
}

static int no_policy(int r, struct stow_err *err)
{
	return stow_err_sys(err, -r, "get_mempolicy(2)");
}

static void print_range(const struct numactl_shm *shm, uint64_t from, uint64_t to)
{
	printf("%016" PRIx64 "-%016" PRIx64 ": ", shm->offset + from, shm->offset + to);
}

static void print_policy(const struct numactl_shm *shm, uint64_t from, uint64_t to, int mode,
			 const struct stow_idset *nodes)
{
	char name[64];

	if (mode == COMPAT_DEFAULT || mode == COMPAT_NONE)
		return;
	print_range(shm, from, to);
	printf("%s : ", compat_policy_name(mode, name, sizeof(name)));
	STOW_IDSET_FOR(id, nodes)
		printf("%d ", id);
	putchar('\n');
}

int numactl_dump(const struct numactl_shm *shm, struct stow_err *err)
{
	struct stow_idset nodes, before = { 0 };
	int mode, mode_before = COMPAT_NONE;
	uint64_t from = 0;

	for (uint64_t at = 0; at < shm->length; at += shm->page) {
		int r = compat_get_policy(shm->memory + at, &mode, &nodes);

		if (r < 0)
			return no_policy(r, err);
		if (mode == mode_before && stow_idset_equal(&nodes, &before))
			continue;
		print_policy(shm, from, at, mode_before, &before);
		mode_before = mode;
		before = nodes;
		from = at;
	}
	print_policy(shm, from, shm->length, mode_before, &before);
	return 0;
}

int numactl_dump_nodes(const struct numactl_shm *shm, struct stow_err *err)
{
	int before = -1;
	uint64_t from = 0;

	for (uint64_t at = 0; at <= shm->length; at += shm->page) {
		int node = at < shm->length ? compat_get_node(shm->memory + at) : -1;

		if (node < 0 && at < shm->length)
			return no_policy(node, err);
		if (node == before)
			continue;
		if (before >= 0) {
			print_range(shm, from, at);
			printf("%d\n", before);
		}
		before = node;
		from = at;
	}
	return 0;
}

int numactl_verify(const struct numactl_shm *shm, int mode, const struct stow_idset *nodes,
		   struct stow_err *err)
{
	for (uint64_t at = 0; at < shm->length; at += shm->page) {
		struct stow_idset has;
		char name[64];
		int is, node, r = compat_get_policy(shm->memory + at, &is, &has);

		if (r < 0)
			return no_policy(r, err);
		if (is != mode)
			return stow_err_set(err, EIO, "verify %" PRIx64 ": wrong policy %s", at,
					    compat_policy_name(is, name, sizeof(name)));
		if (!stow_idset_equal(&has, nodes))
			return stow_err_set(err, EIO, "verify %" PRIx64 ": other nodes, %s", at,
					    stow_idset_format(&has, name, sizeof(name)));
		node = compat_get_node(shm->memory + at);
		if (!stow_idset_empty(nodes) && !stow_idset_has(nodes, node))
			return stow_err_set(err, EIO, "verify %" PRIx64 ": on node %d", at, node);
	}
	return 0;
}

void numactl_shm_done(struct numactl_shm *shm)
{
	if (shm->fd >= 0)
		close(shm->fd);
	shm->fd = -EBADF;
}
