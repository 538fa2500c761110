/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a runtime tells its hooks: the OCI state on standard input and the bundle's config.json
 * (opencontainers/runtime-spec: runtime.md "State", config.md, config-linux.md). Both are bounded,
 * parsed strictly, and everything that becomes part of a path or a message is checked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <json-c/json.h>

#include "base/err.h"
#include "base/root.h"
#include "place/request.h"

#define HOOK_STATE_MAX	(1U << 20) /* bytes of OCI state */
#define HOOK_CONFIG_MAX (4U << 20) /* bytes of config.json */

/* Who a container is. Strings point into `json`; NULL where the runtime does not say. */
struct hook_container {
	struct json_object *json; /* the state, or config.json for precreate */
	const char *id;
	char *own_id; /* of a config.json: what `id` points to */
	pid_t pid;    /* 0 when there is no process */
	const char *bundle;
	struct stow_annotation *annotations; /* all of them */
	size_t n_annotations;
	const char *pod, *pod_id, *ns, *name; /* Kubernetes */
	bool sandbox;			      /* the pod's pause container */
	bool annotated;			      /* any numastow.io/ key */
};

/* Reads standard input or a file to its end: -E2BIG over `max`. */
int hook_read_all(int fd, size_t max, const char *what, char **ret_text, size_t *ret_len,
		  struct stow_err *err);

/* -EINVAL: no JSON, or not what the specification says; the message names the key. With annotations
 * of ours, also: an identity (io.kubernetes.*) that is no name, or that two engines' keys
 * contradict. Without, what is odd about the identity is taken for unknown. */
int hook_parse_state(const char *text, size_t len, struct hook_container *ret,
		     struct stow_err *err);
/* The same from a config.json: the id is what the OCI state will have, out of linux.cgroupsPath.
 * -ENOENT without one. */
int hook_parse_config(const char *text, size_t len, struct hook_container *ret,
		      struct stow_err *err);
void hook_container_done(struct hook_container *container);

/* Reads and parses BUNDLE/config.json; it must be a regular file, and no link. */
int hook_open_config(struct stow_root *root, const char *bundle, struct json_object **ret_config,
		     struct stow_err *err);

/* The text alone. */
int hook_read_config(struct stow_root *root, const char *bundle, char **ret_text, size_t *ret_len,
		     struct stow_err *err);
/* A JSON object and nothing behind it. `what`: for messages. */
int hook_parse_json(const char *text, size_t len, const char *what, struct json_object **ret,
		    struct stow_err *err);

/* CPU quota, memory and hugepage limits of config.json's linux.resources. */
int hook_config_limits(struct json_object *config, struct stow_limits *ret, struct stow_err *err);

/* The mode of config.json's linux.memoryPolicy ("MPOL_INTERLEAVE"), or NULL. */
const char *hook_config_memory_policy(struct json_object *config);

static inline void hook_json_put_ptr(struct json_object **o)
{
	json_object_put(*o);
}
