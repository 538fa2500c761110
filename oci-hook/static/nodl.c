// SPDX-License-Identifier: Apache-2.0
/*
 * The statically linked hook loads no code at run time. SQLite could, for its extensions, and is given
 * these: they always fail, nothing of the C library's loader is linked in, and the linker has nothing
 * to warn about.
 */
#include <dlfcn.h>
#include <stddef.h>

void *dlopen(const char *file, int mode)
{
	return NULL;
}

void *dlsym(void *restrict handle, const char *restrict name)
{
	return NULL;
}

int dlclose(void *handle)
{
	return 0;
}

char *dlerror(void)
{
	return (char *)"this program loads nothing";
}
