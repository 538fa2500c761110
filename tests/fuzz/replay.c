// SPDX-License-Identifier: Apache-2.0
/* Gives files, and all files of folders, to a fuzz target, so that a corpus is an ordinary test. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fuzz.h"

static unsigned long count;

static void one_file(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st) < 0) {
		perror(path);
		exit(1);
	}
	/* In a buffer of its own size, for the sanitizer to see what is read beyond. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		perror(path);
		exit(1);
	}
	fprintf(stderr, "# %s\n", path); /* the last one named is the one that crashed */
	(void)LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	count++;
}

static void one_folder(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	if (n < 0) {
		perror(path);
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		char file[PATH_MAX];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			one_file(file);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			one_folder(argv[i]);
		else
			one_file(argv[i]);
	}
	printf("ok - %s: %lu inputs\n", argc > 1 ? argv[1] : argv[0], count);
	return 0;
}
