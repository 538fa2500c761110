// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/read.h"
#include "kube/internal.h"

#define TIMEOUT	   (30 * STOW_SECOND)
#define ANSWER_MAX ((size_t)4 << 20)

int stow_kube_wait(struct stow_kube *kube, uint64_t ns)
{
	uint64_t now = stow_clock_boot(), until = stow_saturating_add(now, ns);

	for (;;) {
		if (atomic_load(&kube->stopped))
			return -ECANCELED;
		stow_kube_watches_end(kube);
		if (atomic_exchange(&kube->woken, false) || kube->event) {
			kube->event = false;
			return 1;
		}
		now = stow_clock_boot();
		if (now >= until)
			return 0;
		if (stow_kube_turn(kube, until - now, NULL) < 0)
			return 0;
	}
}

void stow_kube_wake(struct stow_kube *kube)
{
	atomic_store(&kube->woken, true);
	curl_multi_wakeup(kube->multi);
}

void stow_kube_stop(struct stow_kube *kube)
{
	atomic_store(&kube->stopped, true);
	curl_multi_wakeup(kube->multi);
}

const char *stow_kube_namespace(const struct stow_kube *kube)
{
	return kube->config->ns;
}

/* --- its files ------------------------------------------------------------ */

static uint64_t stamp_of(const struct stow_kube *kube)
{
	const char *paths[] = { kube->kubeconfig, kube->config->ca_file,
				kube->config->certificate_file, kube->config->key_file };

	return stow_read_stamp(paths, STOW_ARRAY_SIZE(paths));
}

bool stow_kube_is_current(const struct stow_kube *kube)
{
	return !kube->stale && stamp_of(kube) == kube->stamp;
}

void stow_kube_set_times(struct stow_kube *kube, uint64_t timeout, uint64_t patience)
{
	kube->timeout = timeout ? timeout : TIMEOUT;
	kube->patience = patience;
}

/* --- making and freeing --------------------------------------------------- */

static int copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int stow_kube_new(const struct stow_kube_options *options, struct stow_kube **ret,
		  struct stow_err *err)
{
	struct stow_kube *kube = calloc(1, sizeof(*kube));
	int r;

	if (!kube)
		return stow_err_set(err, ENOMEM, "out of memory");
	kube->exec = options->exec;
	kube->timeout = options->timeout ? options->timeout : TIMEOUT;
	kube->patience = options->patience;
	kube->answer_max = options->answer_max ? options->answer_max : ANSWER_MAX;
	/* curl counts these calls: other parts of the process may use it, too. */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(kube);
		return stow_err_set(err, EIO, "libcurl does not start");
	}
	kube->multi = curl_multi_init();
	if (!kube->multi || copy(&kube->kubeconfig, options->kubeconfig) < 0 ||
	    copy(&kube->context, options->context) < 0 ||
	    copy(&kube->folder, options->folder ? options->folder : STOW_KUBE_ACCOUNT) < 0 ||
	    copy(&kube->host, options->host) < 0 || copy(&kube->port, options->port) < 0 ||
	    copy(&kube->program, options->program) < 0)
		r = stow_err_set(err, ENOMEM, "out of memory");
	else
		r = stow_kube_read_config(kube, &kube->config, err);
	if (r < 0) {
		stow_kube_free(kube);
		return r;
	}
	kube->stamp = stamp_of(kube);
	*ret = kube;
	return 0;
}

void stow_kube_free(struct stow_kube *kube)
{
	if (!kube)
		return;
	stow_kube_watches_free(kube);
	curl_multi_cleanup(kube->multi);
	stow_kube_config_free(kube->config);
	free(kube->kubeconfig);
	free(kube->context);
	free(kube->folder);
	free(kube->host);
	free(kube->port);
	free(kube->program);
	free(kube);
	curl_global_cleanup();
}
