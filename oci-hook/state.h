/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A hook's input: the OCI state on standard input, and the bundle's config.json
 * (opencontainers/runtime-spec: runtime.md "State", config.md, config-linux.md). Both are bounded
 * and parsed strictly; whatever becomes part of a path or a message is checked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <json-c/json.h>

#include "base/err.h"
#include "base/root.h"
#include "place/request.h"

/* Bytes of the OCI state and of config.json, of a container that asks for something. Others start
 * with more, too: oci-hook/input.h. */
#define HOOK_STATE_MAX	(1U << 20)
#define HOOK_CONFIG_MAX (4U << 20)

/* A container's identity. Strings point into `json`; NULL if the runtime does not provide them. */
struct hook_container {
	struct json_object *json; /* the state, or config.json for precreate */
	const char *id;
	char *own_id; /* allocated id, where it is not in `json`: `id` points to it */
	pid_t pid;    /* 0 when there is no process */
	const char *bundle;
	struct stow_annotation *annotations; /* all of them */
	size_t n_annotations;
	const char *pod, *pod_id, *ns, *name; /* Kubernetes */
	bool sandbox;			      /* the pod's pause container */
	bool annotated;			      /* any numastow.io/ key */
};

/* Parse an OCI state. -EINVAL: it is not JSON, or does not match the specification; the message
 * names the key. With numastow.io annotations also when the identity (io.kubernetes.*) is not a
 * valid name, or when the keys of two engines contradict each other. Without them an invalid
 * identity counts as unknown, and an id that is no name is encoded as one ("%20" for a blank). */
int hook_parse_state(const char *text, size_t len, struct hook_container *ret,
		     struct stow_err *err);
/* The same for a config.json. The id is the one that the OCI state will have, from
 * linux.cgroupsPath. -ENOENT: there is none. */
int hook_parse_config(const char *text, size_t len, struct hook_container *ret,
		      struct stow_err *err);
void hook_container_done(struct hook_container *container);

/* Read and parse BUNDLE/config.json, which must be a regular file, not a link. */
int hook_open_config(struct stow_root *root, const char *bundle, struct json_object **ret_config,
		     struct stow_err *err);

/* Read the text only. */
int hook_read_config(struct stow_root *root, const char *bundle, char **ret_text, size_t *ret_len,
		     struct stow_err *err);
/* Parse a JSON object without trailing text. `what`: for messages. */
int hook_parse_json(const char *text, size_t len, const char *what, struct json_object **ret,
		    struct stow_err *err);

/* Read CPU quota, memory and hugepage limits from config.json's linux.resources. */
int hook_config_limits(struct json_object *config, struct stow_limits *ret, struct stow_err *err);

/* Return the mode of config.json's linux.memoryPolicy ("MPOL_INTERLEAVE"), or NULL. */
const char *hook_config_memory_policy(struct json_object *config);
