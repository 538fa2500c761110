// SPDX-License-Identifier: Apache-2.0
/* Pools that are set at boot: a unit of systemd, and the kernel parameters that do the same. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "node/hugetlb.h"

#define FILE_MAX (1U << 20)
#define MARK	 "# Written by numastow hugepages --persist.\n"
#define WANTS	 "/etc/systemd/system/sysinit.target.wants"
#define LINE_MAX 512 /* bytes of one pool's lines */

/* The parts of the line of one pool: "ExecStart=-/bin/sh -c 'echo PAGES >.../nodeN/hugepages/
 * hugepages-SIZEkB/nr_hugepages'". */
#define SET_BEGIN "ExecStart=-/bin/sh -c 'echo "
#define SET_NODE  " >/sys/devices/system/node/node"
#define SET_SIZE  "/hugepages/hugepages-"
#define SET_END	  "kB/nr_hugepages'"

/* Parse a decimal number at *p and move *p behind it. */
static bool scan(const char **p, uint64_t max, uint64_t *ret)
{
	size_t n = strspn(*p, "0123456789");
	char digits[24];

	if (!n || n >= sizeof(digits))
		return false;
	memcpy(digits, *p, n);
	digits[n] = '\0';
	*p += n;
	return stow_parse_u64(digits, max, ret, NULL) == 0;
}

static bool skip(const char **p, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*p, text, len) != 0)
		return false;
	*p += len;
	return true;
}

static bool scan_line(const char *p, struct stow_hugeboot *ret)
{
	uint64_t pages, node, kib;

	if (!skip(&p, SET_BEGIN) || !scan(&p, UINT64_MAX, &pages) || !skip(&p, SET_NODE) ||
	    !scan(&p, STOW_IDSET_MAX - 1, &node) || !skip(&p, SET_SIZE) ||
	    !scan(&p, UINT64_MAX >> 10, &kib) || !skip(&p, SET_END))
		return false;
	*ret = (struct stow_hugeboot){ .node = (int)node, .size = kib << 10, .pages = pages };
	return true;
}

void stow_hugeboot_done(struct stow_hugeboot_list *boot)
{
	free(boot->list);
	*boot = (struct stow_hugeboot_list){ 0 };
}

static int by_size_and_node(const void *a, const void *b)
{
	const struct stow_hugeboot *x = a, *y = b;

	if (x->size != y->size)
		return x->size < y->size ? 1 : -1;
	return x->node - y->node;
}

int stow_hugeboot_set(struct stow_hugeboot_list *boot, int node, uint64_t size, uint64_t pages,
		      struct stow_err *err)
{
	struct stow_hugeboot *at = NULL;

	for (size_t i = 0; i < boot->n; i++)
		if (boot->list[i].node == node && boot->list[i].size == size)
			at = &boot->list[i];
	if (!at && !pages)
		return 0;
	if (!pages) {
		memmove(at, at + 1, (size_t)(boot->list + boot->n - (at + 1)) * sizeof(*at));
		boot->n--;
		return 0;
	}
	if (!at)
		at = STOW_APPEND(boot->list, boot->n);
	if (!at)
		return stow_err_sys(err, ENOMEM, "pools");
	*at = (struct stow_hugeboot){ .node = node, .size = size, .pages = pages };
	qsort(boot->list, boot->n, sizeof(*boot->list), by_size_and_node);
	return 0;
}

int stow_hugeboot_read(struct stow_root *root, struct stow_hugeboot_list *ret, struct stow_err *err)
{
	struct stow_hugeboot_list boot = { 0 };
	_cleanup_free_ char *text = NULL;
	struct stow_err why = { 0 };
	int r = stow_root_read(root, FILE_MAX, &text, NULL, &why, "%s", STOW_HUGEBOOT_FILE);

	*ret = boot;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return stow_err_move(err, r, &why);
	if (strncmp(text, MARK, strlen(MARK)) != 0)
		return stow_err_set(err, EUCLEAN,
				    "%s was not written by numastow; move it away, or change it "
				    "yourself",
				    STOW_HUGEBOOT_FILE);
	for (const char *p = text; *p && r == 0;) {
		struct stow_hugeboot pool;

		if (scan_line(p, &pool))
			r = stow_hugeboot_set(&boot, pool.node, pool.size, pool.pages, err);
		p += strcspn(p, "\n");
		p += *p == '\n';
	}
	if (r < 0) {
		stow_hugeboot_done(&boot);
		return r;
	}
	*ret = boot;
	return 0;
}

static char *make_unit(const struct stow_hugeboot_list *boot)
{
	size_t size = 2048 + boot->n * 2 * LINE_MAX;
	char *text = calloc(1, size);

	if (!text)
		return NULL;
	/* Early, before memory is fragmented and before anything uses hugepages. */
	stow_append(text, size,
		    MARK "[Unit]\n"
			 "Description=Hugepages of NUMA nodes\n"
			 "Documentation=man:numastow-hugepages(1)\n"
			 "DefaultDependencies=no\n"
			 "Before=sysinit.target shutdown.target dev-hugepages.mount\n"
			 "Conflicts=shutdown.target\n"
			 "ConditionPathExists=/sys/kernel/mm/hugepages\n"
			 "\n"
			 "[Service]\n"
			 "Type=oneshot\n"
			 "RemainAfterExit=yes\n");
	for (size_t i = 0; i < boot->n; i++)
		stow_append(text, size,
			    SET_BEGIN "%" PRIu64 SET_NODE "%d" SET_SIZE "%" PRIu64 SET_END "\n",
			    boot->list[i].pages, boot->list[i].node, boot->list[i].size >> 10);
	/* The kernel accepts each write, even if it finds fewer free pages: read back, and let the
	 * unit fail then. */
	for (size_t i = 0; i < boot->n; i++)
		stow_append(
			text, size,
			"ExecStart=/bin/sh -c 'has=$$(cat /sys/devices/system/node/node%d" SET_SIZE
			"%" PRIu64 "kB/nr_hugepages) && test \"$$has\" -ge %" PRIu64
			" || { echo \"node %d: $$has of %" PRIu64 " hugepages of %" PRIu64
			" kB\" >&2; exit 1; }'\n",
			boot->list[i].node, boot->list[i].size >> 10, boot->list[i].pages,
			boot->list[i].node, boot->list[i].pages, boot->list[i].size >> 10);
	stow_append(text, size, "\n[Install]\nWantedBy=sysinit.target\n");
	return text;
}

int stow_hugeboot_write(struct stow_root *root, const struct stow_hugeboot_list *boot,
			struct stow_err *err)
{
	_cleanup_free_ char *unit = NULL;
	struct stow_err why = { 0 };
	int r;

	if (!boot->n) {
		r = stow_root_unlink(root, err, "%s", STOW_HUGEBOOT_WANT);
		return r < 0 ? r : stow_root_unlink(root, err, "%s", STOW_HUGEBOOT_FILE);
	}
	unit = make_unit(boot);
	if (!unit)
		return stow_err_sys(err, ENOMEM, "%s", STOW_HUGEBOOT_FILE);
	r = stow_root_mkdir(root, WANTS, err);
	if (r == 0)
		r = stow_root_replace(root, STOW_HUGEBOOT_FILE, unit, 0644, err);
	if (r < 0)
		return r;
	r = stow_root_symlink(root, STOW_HUGEBOOT_WANT, "../" STOW_HUGEBOOT_UNIT, &why);
	return r < 0 && r != -EEXIST ? stow_err_move(err, r, &why) : 0;
}

/* Format a page size as the kernel's parameters do: "1G", "2M", "64K". */
static void format_param(uint64_t size, char *buf, size_t len)
{
	static const struct {
		unsigned int shift;
		char letter;
	} units[] = { { 30, 'G' }, { 20, 'M' }, { 10, 'K' } };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(units); i++)
		if (size >> units[i].shift && !(size & ((UINT64_C(1) << units[i].shift) - 1))) {
			snprintf(buf, len, "%" PRIu64 "%c", size >> units[i].shift,
				 units[i].letter);
			return;
		}
	snprintf(buf, len, "%" PRIu64, size);
}

char *stow_hugeboot_parameters(const struct stow_hugeboot_list *boot)
{
	size_t size = 16 + boot->n * 96;
	char *text = calloc(1, size);

	for (size_t i = 0; text && i < boot->n; i++) {
		char unit[32];

		if (!i || boot->list[i].size != boot->list[i - 1].size) {
			format_param(boot->list[i].size, unit, sizeof(unit));
			stow_append(text, size, "%shugepagesz=%s hugepages=", i ? " " : "", unit);
		} else {
			stow_append(text, size, ",");
		}
		stow_append(text, size, "%d:%" PRIu64, boot->list[i].node, boot->list[i].pages);
	}
	return text;
}
