// SPDX-License-Identifier: Apache-2.0
/* What the kernel logs about pages that did not move. */
#include "pages/kmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"

#define RECORD_MAX 8192 /* bytes of a record: the kernel's PRINTKRECORD_MAX is 2048, and a header */
/* Limit on records read at once: the kernel's log has fewer, but may grow while it is read. */
#define RECORDS_MAX 100000

/* Parse a hexadecimal number, with or without 0x, that ends at the end of a word; 0: none. */
static uint64_t frame_at(const char *text)
{
	uint64_t value;

	if (text[0] == '0' && text[1] == 'x')
		text += 2;
	return stow_scan_hex(&text, &value) && (*text == '\0' || *text == ' ') ? value : 0;
}

static const char *after(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* Return the text of a record "PRIORITY,SEQUENCE,TIME,FLAGS[,...];TEXT" if the kernel itself wrote
 * it: records that programs wrote have a facility other than 0. */
static const char *text_of(const char *line)
{
	size_t digits = strspn(line, "0123456789");
	const char *text = strchr(line, ';');

	if (!digits || line[digits] != ',' || !text)
		return line; /* only the text */
	return digits == 1 && line[0] < '8' ? text + 1 : "";
}

uint64_t stow_kmsg_line(const char *line)
{
	const char *text = text_of(line), *rest, *frame;

	rest = after(text, "migrating pfn ");
	if (!rest)
		rest = after(text, "failed to isolate pfn ");
	if (rest)
		return frame_at(rest);
	/* dump_page(): "page:00000000d5ab2e72 refcount:3 mapcount:1 ... pfn:0x18a2b3"; since 6.10
	 * without the address. The only line about an unmovable page that was found before the
	 * kernel tried to move anything. */
	rest = after(text, "page:");
	frame = rest ? strstr(rest, " pfn:0x") : NULL;
	return frame && strstr(rest, "refcount:") ? frame_at(frame + strlen(" pfn:")) : 0;
}

int stow_kmsg_open(struct stow_root *root, struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;

	if (!root->live)
		return stow_err_set(err, ENOTSUP, "a copied tree has no kernel log");
	fd = stow_root_openat(root, O_RDONLY | O_NONBLOCK, 0, NULL, "/dev/kmsg");
	if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
		return stow_err_set(err, ENOTSUP,
				    "the kernel's log cannot be read (/dev/kmsg: %s): which pages "
				    "are in the way is not known",
				    strerror(fd < 0 ? -fd : errno));
	return STOW_TAKE_FD(fd);
}

static int add_once(uint64_t **pfns, size_t *n, uint64_t pfn)
{
	uint64_t *added;

	for (size_t i = 0; i < *n; i++)
		if ((*pfns)[i] == pfn)
			return 0;
	added = STOW_APPEND(*pfns, *n);
	if (!added)
		return -ENOMEM;
	*added = pfn;
	return 0;
}

int stow_kmsg_stuck(int fd, uint64_t first, uint64_t end, uint64_t **ret_pfns, size_t *ret_n,
		    struct stow_err *err)
{
	_cleanup_free_ uint64_t *pfns = NULL;
	char record[RECORD_MAX];
	size_t n = 0;

	for (int i = 0; i < RECORDS_MAX; i++) {
		ssize_t got = read(fd, record, sizeof(record) - 1); /* one record */
		uint64_t pfn;

		/* EPIPE: records were overwritten before they were read; continue with the next. */
		if (got < 0 && (errno == EPIPE || errno == EINTR))
			continue;
		if (got < 0 && errno != EAGAIN)
			return stow_err_sys(err, errno, "/dev/kmsg");
		if (got <= 0)
			break;
		record[got] = '\0';
		record[strcspn(record, "\n")] = '\0'; /* cut the detail lines of the record */
		pfn = stow_kmsg_line(record);
		if (pfn >= first && pfn < end && pfn && add_once(&pfns, &n, pfn) < 0)
			return stow_err_sys(err, ENOMEM, "/dev/kmsg");
	}
	*ret_pfns = STOW_TAKE_PTR(pfns);
	*ret_n = n;
	return 0;
}
