// SPDX-License-Identifier: Apache-2.0
#include "cli/run/libsystemd.h"

#include <dlfcn.h>
#include <errno.h>

#include "base/cleanup.h"

#define LIBRARY "libsystemd.so.0"

int run_load_libsystemd(struct run_libsystemd *ret, struct stow_err *err)
{
	struct run_libsystemd loaded;
	const struct {
		const char *name;
		void *at; /* a pointer to a function, which a void pointer cannot point to */
	} functions[] = {
#define FUNCTION(name) { #name, &loaded.name },
		RUN_LIBSYSTEMD(FUNCTION)
#undef FUNCTION
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return stow_err_set(err, ELIBACC, "%s", dlerror());
	for (size_t i = 0; i < STOW_ARRAY_SIZE(functions); i++) {
		*(void **)functions[i].at = dlsym(library, functions[i].name);
		if (!*(void **)functions[i].at) {
			dlclose(library);
			return stow_err_set(err, ELIBACC, LIBRARY " has no %s", functions[i].name);
		}
	}
	*ret = loaded;
	return 0;
}
