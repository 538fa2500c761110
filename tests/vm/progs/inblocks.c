/*
 * Print in which memory blocks a process has its pages, as numa_maps shows on which nodes it has
 * them.
 *
 *   inblocks PID
 *
 * One line for each block and kind of mapping: "BLOCK KIND KB", where KIND is anon, file or huge (a
 * mapping of hugetlb pages), and shared memory and tmpfs files are files. Needs root, for the page
 * frames in /proc/PID/pagemap.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE	 4096
#define BLOCKS	 4096
#define PRESENT	 (UINT64_C(1) << 63)
#define PFN_MASK ((UINT64_C(1) << 55) - 1)

enum { ANON, FILES, HUGE, KINDS };

static uint64_t pages[BLOCKS][KINDS];

static uint64_t block_size(void)
{
	FILE *f = fopen("/sys/devices/system/memory/block_size_bytes", "re");
	uint64_t size = 0;

	if (!f || fscanf(f, "%" SCNx64, &size) != 1)
		size = 0;
	if (f)
		fclose(f);
	return size;
}

static void count(int pagemap, uint64_t start, uint64_t end, int kind, uint64_t per_block)
{
	uint64_t entries[512];

	for (uint64_t at = start / PAGE; at < end / PAGE;) {
		size_t want = end / PAGE - at < 512 ? end / PAGE - at : 512;
		ssize_t got = pread(pagemap, entries, want * 8, (off_t)(at * 8));

		if (got <= 0)
			return;
		for (ssize_t i = 0; i < got / 8; i++) {
			uint64_t pfn = entries[i] & PFN_MASK;

			if ((entries[i] & PRESENT) && pfn && pfn / per_block < BLOCKS)
				pages[pfn / per_block][kind]++;
		}
		at += (uint64_t)got / 8;
	}
}

int main(int argc, char **argv)
{
	static const char *const names[KINDS] = { "anon", "file", "huge" };
	uint64_t per_block = block_size() / PAGE, start, end, inode;
	char path[64], line[8192];
	int pagemap, kind = ANON;
	FILE *smaps;

	if (argc != 2 || !per_block) {
		fputs("usage: inblocks PID\n", stderr);
		return 1;
	}
	snprintf(path, sizeof(path), "/proc/%s/pagemap", argv[1]);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%s/smaps", argv[1]);
	smaps = fopen(path, "re");
	if (pagemap < 0 || !smaps) {
		perror(path);
		return 1;
	}
	start = end = 0;
	while (fgets(line, sizeof(line), smaps)) {
		uint64_t from, to;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %" SCNu64, &from, &to,
			   &inode) == 3) {
			start = from;
			end = to;
			kind = inode ? FILES : ANON;
		} else if (strncmp(line, "VmFlags:", 8) == 0) {
			/* The last line of a mapping: now its kind is known. */
			if (strstr(line, " ht"))
				kind = HUGE;
			count(pagemap, start, end, kind, per_block);
		}
	}
	fclose(smaps);
	close(pagemap);
	for (size_t i = 0; i < BLOCKS; i++)
		for (int k = 0; k < KINDS; k++)
			if (pages[i][k])
				printf("%zu %s %" PRIu64 "\n", i, names[k],
				       pages[i][k] * (PAGE / 1024));
	return 0;
}
