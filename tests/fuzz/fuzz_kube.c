// SPDX-License-Identifier: Apache-2.0
/* A kubeconfig, and what an API server answers: an object, a refusal, the events of a watch, a
 * ResourceSlice; and the file of what was published. The first byte says which. */
#include "fuzz.h"

#include "agent/kubernetes/slice.h"
#include "agent/kubernetes/state.h"
#include "kube/config.h"
#include "kube/internal.h"
#include "kube/json.h"
#include "program.h"

static void as_kubeconfig(const char *text, size_t len)
{
	struct stow_kube_config *config = NULL;
	struct stow_err err = { 0 };
	char *token = NULL;
	int r = stow_kube_config_parse(text, len, "config", &config, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r < 0)
		return;
	FUZZ_CHECK(strncmp(config->server, "https://", 8) == 0 ||
		   strncmp(config->server, "http://", 7) == 0);
	FUZZ_CHECK(!config->ca || strstr(config->ca, "-----BEGIN "));
	if (!config->token_file && stow_kube_config_token(config, &token, NULL) == 0 && token)
		FUZZ_CHECK(token[0] && !strpbrk(token, " \r\n"));
	free(token);
	stow_kube_config_free(config);
}

static void as_answer(const char *text, size_t len)
{
	static const char *const paths[] = { "metadata", "metadata.name", "a.b.c", "items" };
	struct json_object *object = NULL;
	struct stow_err err = { 0 };
	size_t n;
	int r = stow_kube_parse(text, len, &object, &err);

	FUZZ_CHECK_ERR(r, &err);
	for (size_t i = 0; r == 0 && i < sizeof(paths) / sizeof(*paths); i++) {
		(void)stow_kube_at(object, paths[i]);
		FUZZ_CHECK(stow_kube_text(object, paths[i]));
		(void)stow_kube_number(object, paths[i], 0);
		(void)stow_kube_is_true(object, paths[i]);
		FUZZ_CHECK(stow_kube_list_at(object, paths[i], &n) || n == 0);
	}
	json_object_put(object);
}

static void as_refusal(const char *text, size_t len)
{
	static const long statuses[] = { 400, 409, 410, 500 };
	struct stow_err err;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		int r = stow_kube_refusal(statuses[i], text, len, &err);

		FUZZ_CHECK(r < 0);
		FUZZ_CHECK_ERR(r, &err);
	}
}

static void on_event(void *ctx, enum stow_kube_event event, struct json_object *object)
{
	FUZZ_CHECK(event <= STOW_KUBE_DELETED);
	FUZZ_CHECK(stow_kube_text(object, "metadata.resourceVersion")[0]);
}

static void on_end(void *ctx, int r, const struct stow_err *why)
{
	abort();
}

/* Nothing is sent: the client has no turn. In pieces, as they come. */
static void as_watch(const char *text, size_t len)
{
	static const struct stow_kube_watch_ops ops = { .event = on_event, .ended = on_end };
	static struct stow_kube *kube;
	struct stow_kube_options options = { .folder = fuzz_folder(),
					     .host = "127.0.0.1",
					     .port = "1",
					     .program = "fuzz",
					     .answer_max = 4096 };
	struct stow_kube_watch *watch;

	fuzz_file("/token", "t", 1);
	if (!kube && stow_kube_new(&options, &kube, NULL) < 0)
		abort();
	if (stow_kube_watch(kube, "/apis/x/v1/things", NULL, "1", &ops, NULL, &watch, NULL) < 0)
		abort();
	for (size_t at = 0, n = 1; at < len; at += n, n = n * 3 + 1) {
		n = n < len - at ? n : len - at;
		if (!stow_kube_watch_take(watch, text + at, n))
			break;
	}
	FUZZ_CHECK(stow_kube_watch_version(watch)[0]);
	stow_kube_watch_free(watch);
}

/* What is stored, against what is wanted; and what is known of it after a restart. */
static void as_slice(const char *text, size_t len)
{
	const struct agent_slice_settings settings = {
		.node = "web-3", .node_uid = "u", .lists = true, .taints = true, .generation = 1
	};
	struct agent_slice_device device = { .fenced = true,
					     .has_cpus = true,
					     .offered = { .cpus = 4, .memory = 1U << 30 } };
	struct json_object *wanted = NULL, *stored = NULL;
	static struct stow_root *root;
	struct agent_state *known;

	if (!root && stow_root_open(fuzz_folder(), &root, NULL) < 0)
		abort();
	if (stow_kube_parse(text, len, &stored, NULL) == 0) {
		if (agent_slice_make(&settings, &device, 1, &wanted, NULL) < 0)
			abort();
		(void)agent_slice_compare(json_object_array_get_idx(wanted, 0), stored);
		FUZZ_CHECK(agent_slice_since(stored, 0));
		json_object_put(wanted);
		json_object_put(stored);
	}
	fuzz_file(AGENT_STATE_PATH, text, len);
	known = malloc(sizeof(*known));
	if (!known)
		abort();
	agent_state_read(root, known);
	FUZZ_CHECK(known->generation >= 0 && known->generation < INT64_MAX);
	FUZZ_CHECK(known->n_fences <= AGENT_STATE_FENCES);
	for (size_t i = 0; i < known->n_fences; i++)
		FUZZ_CHECK(strlen(known->fences[i].since) == strlen("2026-11-26T12:00:00Z"));
	free(known);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const char *, size_t) = { as_kubeconfig, as_answer, as_refusal,
							       as_watch, as_slice };
	char *text;

	if (size == 0)
		return 0;
	text = fuzz_text(data + 1, size - 1);
	kinds[(uint8_t)(data[0] - '0') % 5](text, size - 1);
	free(text);
	return 0;
}
