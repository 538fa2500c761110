/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/parameters.h"

#include <errno.h>
#include <string.h>

#include "agent/kubernetes/field.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "place/request.h"

enum field { API_VERSION, KIND, CPU_MODE, MEMORY_POLICY, DRAIN, FIELDS };
static const char *const fields[] = {
	"apiVersion", "kind", "cpuMode", "memoryPolicy", "drain", NULL
};

/* What one config sets. */
struct parameters {
	bool has[FIELDS];
	int value[FIELDS]; /* a word's index */
};

/* --- one config's parameters ---------------------------------------------- */

static int read_word(const char *name, const char *text, const char *const *words, int *ret,
		     struct stow_err *err)
{
	char why[STOW_WHY_MAX], quoted[84];
	int i = stow_parse_word_why(text, words, why);

	if (i < 0)
		return stow_err_set(err, EINVAL, "%s: \"%s\" %s", name,
				    stow_text_quote(text, quoted, sizeof(quoted)), why);
	*ret = i;
	return 0;
}

static int read_parameter(struct parameters *ret, const char *key, struct json_object *value,
			  struct stow_err *err)
{
	static const char *const versions[] = { AGENT_PARAMETERS, NULL };
	static const char *const kinds[] = { AGENT_PARAMETERS_KIND, NULL };
	const char *const *const words[FIELDS] = { versions, kinds, stow_cpu_modes,
						   stow_memory_policies, stow_drains };
	char why[STOW_WHY_MAX], quoted[84];
	const char *text;
	int i = stow_parse_word_why(key, fields, why), r;

	if (i < 0)
		return stow_err_set(err, EINVAL, "\"%s\" %s",
				    stow_text_quote(key, quoted, sizeof(quoted)), why);
	if (!json_object_is_type(value, json_type_string))
		return stow_err_set(err, EINVAL, "%s: is not a valid text", key);
	text = json_object_get_string(value);
	if (strlen(text) != (size_t)json_object_get_string_len(value))
		return stow_err_set(err, EINVAL, "%s: has a zero byte", key);
	r = read_word(key, text, words[i], &ret->value[i], err);
	ret->has[i] = true;
	if (r == 0 && i == MEMORY_POLICY && ret->value[i] != STOW_MEMORY_BIND)
		return stow_err_set(err, EINVAL,
				    "memoryPolicy: \"%s\" is not possible for a claim, whose "
				    "devices are single NUMA nodes: bind is",
				    text);
	return r;
}

static int read_parameters(struct json_object *object, struct parameters *ret, struct stow_err *err)
{
	size_t len = 0;
	int r;

	*ret = (struct parameters){ 0 };
	/* Kubernetes limits the most compact form, too. */
	(void)json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &len);
	if (len > AGENT_PARAMETERS_MAX)
		return stow_err_set(err, EINVAL, "%zu bytes; at most %d are possible", len,
				    AGENT_PARAMETERS_MAX);
	json_object_object_foreach(object, key, value) {
		r = read_parameter(ret, key, value, err);
		if (r < 0)
			return r;
	}
	if (!ret->has[API_VERSION])
		return stow_err_set(err, EINVAL,
				    "apiVersion: missing: \"" AGENT_PARAMETERS
				    "\" is the only one");
	return 0;
}

/* --- which shares they are for -------------------------------------------- */

/* Return whether a config's request names a share: "main" also stands for "main/half". */
static bool names(const char *request, const char *part)
{
	size_t len = strlen(request);

	return strncmp(request, part, len) == 0 && (part[len] == '\0' || part[len] == '/');
}

/* Return 1 when the config is for the share, 0 when not. */
static int is_for(struct json_object *config, const struct stow_claim_share *share,
		  struct stow_err *err)
{
	struct json_object *requests;
	int r = agent_field(config, "requests", json_type_array, &requests, err);
	bool found = false;
	size_t n;

	if (r < 0)
		return r;
	n = r ? json_object_array_length(requests) : 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *request = json_object_array_get_idx(requests, i);

		if (!json_object_is_type(request, json_type_string))
			return stow_err_set(err, EINVAL, "requests[%zu]: is not a valid text", i);
		found |= names(json_object_get_string(request), share->part);
	}
	return n == 0 || found;
}

/* Apply parameters to a share. `class_mode` is the CPU mode that the share's class has set. */
static int apply_to(const struct parameters *p, bool of_class, struct stow_claim_share *share,
		    enum stow_cpu_mode *class_mode, struct stow_err *err)
{
	if (p->has[DRAIN])
		share->drain = (enum stow_drain)p->value[DRAIN];
	if (!p->has[CPU_MODE])
		return 0;
	if (of_class)
		*class_mode = (enum stow_cpu_mode)p->value[CPU_MODE];
	else if (p->value[CPU_MODE] != STOW_CPU_SHARED && p->value[CPU_MODE] != (int)*class_mode)
		return stow_err_set(err, EPERM,
				    "cpuMode: \"%s\" is for a DeviceClass to give; that of request "
				    "%.64s gives %s CPUs",
				    stow_cpu_mode_name((enum stow_cpu_mode)p->value[CPU_MODE]),
				    share->part, stow_cpu_mode_name(*class_mode));
	share->cpu_mode = (enum stow_cpu_mode)p->value[CPU_MODE];
	return 0;
}

/* Find a config's parameters. Return 0 when they are another driver's. */
static int find_parameters(struct json_object *config, struct json_object **ret,
			   struct stow_err *err)
{
	struct json_object *opaque;
	const char *driver;
	int r = agent_field(config, "opaque", json_type_object, &opaque, err);

	if (r <= 0)
		return r;
	r = agent_text(opaque, "driver", &driver, err);
	if (r < 0 || strcmp(driver, AGENT_DRIVER) != 0)
		return r;
	r = agent_field(opaque, "parameters", json_type_object, ret, err);
	return r == 0 ? stow_err_set(err, EINVAL, "parameters: missing") : r;
}

/* --- all configs ---------------------------------------------------------- */

struct applying {
	struct stow_claim_share *shares;
	size_t n;
	enum stow_cpu_mode class_modes[STOW_CLAIM_SHARES_MAX];
};

/* Apply a config in the pass for classes, or in the one for claims. */
static int apply_config(struct applying *a, struct json_object *config, bool classes,
			struct stow_err *err)
{
	static const char *const sources[] = { "FromClass", "FromClaim", NULL };
	struct json_object *object = NULL;
	struct parameters p;
	const char *text;
	int source = 0, r;

	if (!json_object_is_type(config, json_type_object))
		return stow_err_set(err, EINVAL, "not an object");
	r = find_parameters(config, &object, err);
	if (r <= 0)
		return r;
	r = agent_text(config, "source", &text, err);
	if (r == 0)
		r = read_word("source", text, sources, &source, err);
	if (r < 0 || (source == 0) != classes)
		return r;
	r = read_parameters(object, &p, err);
	if (r < 0)
		return stow_err_wrap(err, r, "parameters");
	for (size_t i = 0; i < a->n; i++) {
		r = is_for(config, &a->shares[i], err);
		if (r > 0)
			r = apply_to(&p, classes, &a->shares[i], &a->class_modes[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int agent_parameters_apply(struct json_object *devices, struct stow_claim_share *shares, size_t n,
			   struct stow_err *err)
{
	struct applying a = { .shares = shares, .n = n };
	struct json_object *configs;
	int r = agent_field(devices, "config", json_type_array, &configs, err);
	size_t n_configs;

	if (r <= 0)
		return r;
	n_configs = json_object_array_length(configs);
	if (n_configs > AGENT_ALLOCATION_CONFIGS)
		return stow_err_set(err, EINVAL, "config: %zu entries; at most %d are read",
				    n_configs, AGENT_ALLOCATION_CONFIGS);
	for (size_t i = 0; i < STOW_CLAIM_SHARES_MAX; i++)
		a.class_modes[i] = STOW_CPU_SHARED;
	/* Classes first, whatever the order of the list: a claim is checked against its class. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < n_configs; i++) {
			r = apply_config(&a, json_object_array_get_idx(configs, i), pass == 0, err);
			if (r < 0)
				return stow_err_wrap(err, r, "config[%zu]", i);
		}
	return 0;
}
