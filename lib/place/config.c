// SPDX-License-Identifier: Apache-2.0
#include "place/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/yaml.h"

#define LEASE_DEFAULT 300 /* seconds: a slow image pull may come before apply */
#define LEASE_MAX     86400

static const char *const modes[] = { "enforce", "observe", NULL };

#define CAP(field) offsetof(struct stow_caps, field)
static const struct stow_setting cap_settings[] = {
	{ "cpus", STOW_SETTING_COUNT, CAP(cpus), 0, 0, NULL, NULL, NULL },
	{ "memory", STOW_SETTING_MEMORY, CAP(memory), STOW_PAGE_MIN, 0, NULL, NULL, NULL },
	{ "hugepages", STOW_SETTING_MEMORY, CAP(hugepages), STOW_PAGE_MIN, 0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_table caps = { .settings = cap_settings };

#define NODE(field) offsetof(struct stow_config_node, field)
enum { NODE_ID, NODE_CPUS, NODE_COUNT };
static const struct stow_setting node_settings[] = {
	[NODE_ID] = { "node", STOW_SETTING_ID, NODE(id), 0, 0, NULL, NULL, NULL },
	[NODE_CPUS] = { "cpus", STOW_SETTING_IDS, NODE(cpu_set), 0, 0, NULL, NULL, NULL },
	[NODE_COUNT] = { "count", STOW_SETTING_COUNT, NODE(cpus), 0, STOW_IDSET_MAX, NULL, NULL,
			 NULL },
	{ "memory", STOW_SETTING_MEMORY, NODE(memory), STOW_PAGE_MIN, 0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_table node = { .settings = node_settings, .required = "node" };

#define NAMESPACE(field) offsetof(struct stow_config_namespace, field)
#define TOTAL(field)	 offsetof(struct stow_config_namespace, total.field)
static const struct stow_setting namespace_settings[] = {
	{ "name", STOW_SETTING_TEXT, NAMESPACE(name), 1, STOW_NAME_MAX, NULL, NULL, NULL },
	{ "cpus", STOW_SETTING_COUNT, TOTAL(cpus), 0, 0, NULL, NULL, NULL },
	{ "memory", STOW_SETTING_MEMORY, TOTAL(memory), STOW_PAGE_MIN, 0, NULL, NULL, NULL },
	{ "hugepages", STOW_SETTING_MEMORY, TOTAL(hugepages), STOW_PAGE_MIN, 0, NULL, NULL, NULL },
	{ "exclusive-cpus", STOW_SETTING_SWITCH, NAMESPACE(exclusive), 0, 0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_table namespace = { .settings = namespace_settings,
						  .required = "name" };

static int check_node(const void *entries, size_t n, const unsigned int *lines, size_t *ret_key,
		      struct stow_err *err)
{
	const struct stow_config_node *nodes = entries;

	for (size_t i = 0; i < n; i++)
		if (nodes[i].id == nodes[n].id)
			return nodes[n].id < 0
				       ? stow_err_set(err, EINVAL, "\"*\" has an entry already")
				       : stow_err_set(err, EINVAL, "node %d has an entry already",
						      nodes[n].id);
	if (!lines[NODE_CPUS] || !lines[NODE_COUNT])
		return 0;
	*ret_key = NODE_COUNT;
	return stow_err_set(err, EINVAL, "cpus already has the CPUs; set one of them");
}

static int check_namespace(const void *entries, size_t n, const unsigned int *lines,
			   size_t *ret_key, struct stow_err *err)
{
	const struct stow_config_namespace *namespaces = entries;

	for (size_t i = 0; i < n; i++)
		if (strcmp(namespaces[i].name, namespaces[n].name) == 0)
			return stow_err_set(err, EINVAL, "\"%.64s\" has an entry already",
					    namespaces[n].name);
	return 0;
}

#define AT(field) offsetof(struct stow_config, field)
static const struct stow_setting settings[] = {
	{ "mode", STOW_SETTING_WORD, AT(mode), 0, 0, modes, NULL, NULL },
	{ "default-policy", STOW_SETTING_WORD, AT(default_policy), 0, 0, stow_policies, NULL,
	  NULL },
	{ "allowed-keys", STOW_SETTING_LIST, AT(allowed_keys), 1, 0, NULL, NULL, NULL },
	{ "runtimes", STOW_SETTING_LIST, AT(runtimes), 1, 0, NULL, NULL, NULL },
	{ "lease-seconds", STOW_SETTING_NUMBER, AT(lease_seconds), 1, LEASE_MAX, NULL, NULL, NULL },
	{ "full-cores", STOW_SETTING_SWITCH, AT(full_cores), 0, 0, NULL, NULL, NULL },
	{ "adopt", STOW_SETTING_SWITCH, AT(adopt), 0, 0, NULL, NULL, NULL },
	{ "partitions", STOW_SETTING_SWITCH, AT(partitions), 0, 0, NULL, NULL, NULL },
	{ 0 },
};

static const struct stow_yaml_nested nested[] = {
	{ .name = "reserved",
	  .table = &node,
	  .offset = AT(reserved),
	  .n_offset = AT(n_reserved),
	  .entry_size = sizeof(struct stow_config_node),
	  .check = check_node },
	{ .name = "caps", .table = &caps, .offset = AT(request) },
	{ .name = "namespaces",
	  .table = &namespace,
	  .offset = AT(namespaces),
	  .n_offset = AT(n_namespaces),
	  .entry_size = sizeof(struct stow_config_namespace),
	  .min = 1,
	  .check = check_namespace },
	{ 0 },
};

static int check_text(const struct stow_setting *setting, const char *text, struct stow_err *err)
{
	if (setting->offset == AT(allowed_keys))
		return stow_request_check_key(text, err);
	/* A name without a path would be looked up in the hook's working directory. */
	if (text[0] != '/')
		return stow_err_set(err, EINVAL,
				    "\"%.64s\" is not an absolute path like /usr/bin/crun", text);
	return 0;
}

static const struct stow_yaml_table table = { .settings = settings,
					      .nested = nested,
					      .check = check_text };

int stow_config_parse(const char *text, size_t len, const char *name,
		      struct stow_config **ret_config, struct stow_err *err)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *config = calloc(1, sizeof(*config));
	int r;

	if (!config)
		return stow_err_set(err, ENOMEM, "out of memory");
	config->lease_seconds = LEASE_DEFAULT;
	config->adopt = true;
	r = stow_yaml_parse(&table, config, text, len, name, err);
	if (r == 0)
		*ret_config = STOW_TAKE_PTR(config);
	return r;
}

int stow_config_read(struct stow_root *root, struct stow_config **ret_config, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	r = stow_root_read(root, STOW_YAML_MAX, &text, &len, err, STOW_CONFIG_PATH);
	if (r == -ENOENT)
		return stow_config_parse("", 0, STOW_CONFIG_PATH, ret_config, err);
	if (r < 0)
		return r;
	return stow_config_parse(text, len, STOW_CONFIG_PATH, ret_config, err);
}

int stow_config_read_anyway(struct stow_root *root, struct stow_config **ret_config,
			    struct stow_err *err)
{
	int r = stow_config_read(root, ret_config, err);

	if (r == 0 || r == -ENOMEM)
		return r;
	r = stow_config_parse("", 0, STOW_CONFIG_PATH, ret_config, NULL);
	if (r < 0)
		return stow_err_sys(err, -r, STOW_CONFIG_PATH);
	(*ret_config)->unread = true;
	return 1;
}

void stow_config_free(struct stow_config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_namespaces; i++)
		free(config->namespaces[i].name);
	stow_settings_done(settings, config);
	free(config->reserved);
	free(config->namespaces);
	free(config);
}

const struct stow_config_node *stow_config_reserved(const struct stow_config *config, int id)
{
	const struct stow_config_node *rest = NULL;

	for (size_t i = 0; config && i < config->n_reserved; i++) {
		if (config->reserved[i].id == id)
			return &config->reserved[i];
		if (config->reserved[i].id < 0)
			rest = &config->reserved[i];
	}
	return rest;
}

void stow_config_reserved_digest(const struct stow_config *config,
				 char ret[static STOW_DIGEST_LEN + 1])
{
	struct stow_digest digest;

	stow_digest_begin(&digest, "numastow reserved CPUs 1");
	for (size_t i = 0; config && i < config->n_reserved; i++) {
		stow_digest_number(&digest, (uint64_t)config->reserved[i].id);
		stow_digest_number(&digest, config->reserved[i].cpus);
		stow_digest_set(&digest, &config->reserved[i].cpu_set);
	}
	stow_digest_end(&digest, ret);
}
