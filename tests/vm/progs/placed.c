/*
 * Print, in one line, where this process may run and where its memory comes from, as the kernel
 * shows it.
 *
 *   placed [PAGES]
 *
 *   policy=MODE:NODES   get_mempolicy(2), without an address
 *   numa_maps=WORDS     of the first mapping
 *   cpus=LIST mems=LIST of /proc/self/status
 *   pages=NODE:N,...    on which nodes PAGES (64) touched pages are, by move_pages(2)
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	  4096
#define PAGES_MAX 4096
#define NODES	  1024

static void print_policy(void)
{
	unsigned long mask[NODES / 64 + 1] = { 0 };
	const char *comma = "";
	int mode = -1;

	if (syscall(SYS_get_mempolicy, &mode, mask, NODES + 1, NULL, 0) < 0)
		mode = -1;
	printf("policy=%d:", mode);
	for (int i = 0; i < NODES; i++)
		if (mask[i / 64] >> (i % 64) & 1) {
			printf("%s%d", comma, i);
			comma = ",";
		}
}

static void print_numa_maps(void)
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char line[512] = "", *start, *end;

	if (!file)
		return;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	start = strchr(line, ' ');
	end = strstr(line, " file=");
	if (start && end)
		*end = '\0';
	printf(" numa_maps=%s", start ? start + 1 : "?");
}

static void print_status(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[8192];

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "Cpus_allowed_list:\t", 19) == 0)
			printf(" cpus=%s", line + 19);
		if (strncmp(line, "Mems_allowed_list:\t", 19) == 0)
			printf(" mems=%s", line + 19);
	}
	if (file)
		fclose(file);
}

static int print_pages(unsigned long n)
{
	static int status[PAGES_MAX], on[NODES];
	static void *addresses[PAGES_MAX];
	const char *comma = "";
	char *memory =
		mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return 1;
	madvise(memory, n * PAGE, MADV_NOHUGEPAGE);
	for (unsigned long i = 0; i < n; i++) {
		memory[i * PAGE] = 1;
		addresses[i] = memory + i * PAGE;
	}
	if (syscall(SYS_move_pages, 0, n, addresses, NULL, status, 0) < 0)
		return 1;
	for (unsigned long i = 0; i < n; i++)
		if (status[i] >= 0 && status[i] < NODES)
			on[status[i]]++;
	printf(" pages=");
	for (int i = 0; i < NODES; i++)
		if (on[i]) {
			printf("%s%d:%d", comma, i, on[i]);
			comma = ",";
		}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	int r;

	if (n == 0 || n > PAGES_MAX)
		return 2;
	print_policy();
	print_numa_maps();
	print_status();
	r = print_pages(n);
	putchar('\n');
	return r;
}
