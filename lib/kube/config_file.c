// SPDX-License-Identifier: Apache-2.0
#include "kube/config_file.h"

#include <stdlib.h>

#include "base/yaml.h"

#define DATA_MAX (1U << 18) /* of a certificate in base64 */

#define TEXT(name, type, field)                                                                 \
	{                                                                                       \
		name, STOW_SETTING_TEXT, offsetof(struct type, field), 0, DATA_MAX, NULL, NULL, \
			NULL                                                                    \
	}
#define OTHER(name, type, field)                   \
	{                                          \
		name, offsetof(struct type, field) \
	}

static const struct stow_setting cluster_settings[] = {
	TEXT("server", kube_cluster, server),
	TEXT("certificate-authority", kube_cluster, ca),
	TEXT("certificate-authority-data", kube_cluster, ca_data),
	{ "insecure-skip-tls-verify", STOW_SETTING_SWITCH, offsetof(struct kube_cluster, insecure),
	  0, 0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_other cluster_others[] = {
	OTHER("tls-server-name", kube_cluster, server_name),
	OTHER("proxy-url", kube_cluster, proxy),
	OTHER("disable-compression", kube_cluster, skipped),
	OTHER("extensions", kube_cluster, skipped),
	{ 0 },
};
static const struct stow_yaml_table cluster_table = { .settings = cluster_settings,
						      .others = cluster_others,
						      .required = "server" };

static const struct stow_setting user_settings[] = {
	TEXT("client-certificate", kube_user, certificate),
	TEXT("client-certificate-data", kube_user, certificate_data),
	TEXT("client-key", kube_user, key),
	TEXT("client-key-data", kube_user, key_data),
	TEXT("token", kube_user, token),
	TEXT("tokenFile", kube_user, token_file),
	{ 0 },
};
static const struct stow_yaml_other user_others[] = {
	OTHER("exec", kube_user, exec),
	OTHER("auth-provider", kube_user, provider),
	OTHER("username", kube_user, password),
	OTHER("password", kube_user, password),
	OTHER("as", kube_user, as),
	OTHER("as-uid", kube_user, as),
	OTHER("as-groups", kube_user, as),
	OTHER("as-user-extra", kube_user, as),
	OTHER("extensions", kube_user, skipped),
	{ 0 },
};
static const struct stow_yaml_table user_table = { .settings = user_settings,
						   .others = user_others };

static const struct stow_setting variable_settings[] = {
	TEXT("name", kube_variable, name),
	TEXT("value", kube_variable, value),
	{ 0 },
};
static const struct stow_yaml_table variable_table = { .settings = variable_settings,
						       .required = "name",
						       .nulls = true };
static const struct stow_setting plugin_settings[] = {
	TEXT("command", kube_plugin, command),
	TEXT("apiVersion", kube_plugin, version),
	TEXT("interactiveMode", kube_plugin, interactive),
	{ "args", STOW_SETTING_LIST, offsetof(struct kube_plugin, args), 0, 0, NULL, NULL, NULL },
	{ "provideClusterInfo", STOW_SETTING_SWITCH, offsetof(struct kube_plugin, cluster_info), 0,
	  0, NULL, NULL, NULL },
	{ 0 },
};
static const struct stow_yaml_nested plugin_lists[] = {
	{ .name = "env",
	  .table = &variable_table,
	  .offset = offsetof(struct kube_plugin, env),
	  .entry_size = sizeof(struct kube_variable),
	  .n_offset = offsetof(struct kube_plugin, n_env) },
	{ 0 },
};
static const struct stow_yaml_other plugin_others[] = {
	OTHER("installHint", kube_plugin, skipped),
	{ 0 },
};
static const struct stow_yaml_table plugin_table = { .settings = plugin_settings,
						     .nested = plugin_lists,
						     .others = plugin_others,
						     .required = "command",
						     .nulls = true };
static const struct stow_yaml_nested user_nested[] = {
	{ .name = "exec", .table = &plugin_table, .offset = offsetof(struct kube_user, plugin) },
	{ 0 },
};
/* Reads `exec`, so without the first of user_others, which only notes that it is there. */
static const struct stow_yaml_table plugin_user_table = { .settings = user_settings,
							  .nested = user_nested,
							  .others = user_others + 1 };

static const struct stow_setting context_settings[] = {
	TEXT("cluster", kube_context, cluster),
	TEXT("user", kube_context, user),
	TEXT("namespace", kube_context, ns),
	{ 0 },
};
static const struct stow_yaml_other context_others[] = {
	OTHER("extensions", kube_context, skipped),
	{ 0 },
};
static const struct stow_yaml_table context_table = { .settings = context_settings,
						      .others = context_others };

static const struct stow_setting name_settings[] = { TEXT("name", kube_named, name), { 0 } };
static const struct stow_yaml_nested in_cluster[] = {
	{ .name = "cluster",
	  .table = &cluster_table,
	  .offset = offsetof(struct kube_named, cluster) },
	{ 0 },
};
static const struct stow_yaml_nested in_user[] = {
	{ .name = "user", .table = &user_table, .offset = offsetof(struct kube_named, user) },
	{ 0 },
};
static const struct stow_yaml_nested in_plugin_user[] = {
	{ .name = "user", .table = &plugin_user_table, .offset = offsetof(struct kube_named, user) },
	{ 0 },
};
static const struct stow_yaml_nested in_context[] = {
	{ .name = "context",
	  .table = &context_table,
	  .offset = offsetof(struct kube_named, context) },
	{ 0 },
};
static const struct stow_yaml_table named_cluster = {
	.settings = name_settings, .nested = in_cluster, .required = "name", .nulls = true
};
static const struct stow_yaml_table named_user = {
	.settings = name_settings, .nested = in_user, .required = "name", .nulls = true
};
static const struct stow_yaml_table named_plugin_user = {
	.settings = name_settings, .nested = in_plugin_user, .required = "name", .nulls = true
};
static const struct stow_yaml_table named_context = {
	.settings = name_settings, .nested = in_context, .required = "name", .nulls = true
};

static const struct stow_setting file_settings[] = {
	TEXT("apiVersion", kube_file, version),
	TEXT("kind", kube_file, kind),
	TEXT("current-context", kube_file, current),
	{ 0 },
};
#define LIST(key, entry_table, field)                              \
	{                                                          \
		.name = (key), .table = &(entry_table),            \
		.offset = offsetof(struct kube_file, field),       \
		.entry_size = sizeof(struct kube_named),           \
		.n_offset = offsetof(struct kube_file, n_##field), \
	}
static const struct stow_yaml_nested file_lists[] = {
	LIST("clusters", named_cluster, clusters),
	LIST("users", named_user, users),
	LIST("contexts", named_context, contexts),
	{ 0 },
};
static const struct stow_yaml_nested plugin_file_lists[] = {
	LIST("clusters", named_cluster, clusters),
	LIST("users", named_plugin_user, users),
	LIST("contexts", named_context, contexts),
	{ 0 },
};
static const struct stow_yaml_other file_others[] = {
	OTHER("preferences", kube_file, skipped),
	OTHER("extensions", kube_file, skipped),
	{ 0 },
};
static const struct stow_yaml_table file_table = { .settings = file_settings,
						   .nested = file_lists,
						   .others = file_others };
static const struct stow_yaml_table plugin_file_table = { .settings = file_settings,
							  .nested = plugin_file_lists,
							  .others = file_others };

static void free_plugin(struct kube_plugin *plugin)
{
	for (size_t i = 0; i < plugin->n_env; i++)
		stow_settings_done(variable_settings, &plugin->env[i]);
	free(plugin->env);
	stow_settings_done(plugin_settings, plugin);
}

static void free_named(struct kube_named *list, size_t n, const struct stow_setting *settings)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].name);
		if (settings == user_settings)
			free_plugin(&list[i].user.plugin);
		stow_settings_done(settings, &list[i].cluster);
	}
	free(list);
}

int kube_file_parse(struct kube_file *ret, const char *text, size_t len, bool plugins,
		    struct stow_err *err)
{
	return stow_yaml_parse(plugins ? &plugin_file_table : &file_table, ret, text, len,
			       ret->path, err);
}

void kube_file_done(struct kube_file *file)
{
	stow_settings_done(file_settings, file);
	free_named(file->clusters, file->n_clusters, cluster_settings);
	free_named(file->users, file->n_users, user_settings);
	free_named(file->contexts, file->n_contexts, context_settings);
}
