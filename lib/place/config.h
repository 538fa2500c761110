/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The administrator's configuration, /etc/numastow/config.yaml, see numastow.yaml(5). Without the
 * file the defaults apply. An error in it names file, line and key, and nothing is placed until it
 * is repaired.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "model/amounts.h"
#include "place/request.h"

#define STOW_CONFIG_PATH "/etc/numastow/config.yaml"

enum stow_mode { STOW_MODE_ENFORCE, STOW_MODE_OBSERVE };

struct stow_config_namespace {
	char *name;		/* "*" for every namespace that is not listed */
	struct stow_caps total; /* of all containers of the namespace together, on this machine */
	bool exclusive;		/* may request exclusive CPUs */
};

struct stow_config_node {
	int id;	       /* -1: every node that is not listed */
	uint32_t cpus; /* reserve this many of the lowest CPUs, when no set is given */
	struct stow_idset cpu_set;
	uint64_t memory; /* bytes */
};

struct stow_config {
	enum stow_mode mode;
	enum stow_policy default_policy;
	struct stow_config_node *reserved;
	size_t n_reserved;
	struct stow_caps request; /* for one container */
	struct stow_config_namespace *namespaces;
	size_t n_namespaces;
	char **allowed_keys;	/* NULL-terminated; NULL: every key */
	char **runtimes;	/* NULL-terminated; precreate asks them for `features` */
	uint64_t lease_seconds; /* how long a lease waits for its container; default 300 */
	bool full_cores; /* refuse exclusive CPUs that would leave half a core to another container */
	bool adopt;	 /* default; keep containers that no hook has seen off exclusive CPUs */
	bool partitions; /* make isolated CPUs a cpuset partition, where the kernel supports it */
	bool unread;	 /* these are defaults, because the file could not be read or parsed */
};

/* Read the configuration; free *ret_config with stow_config_free(). */
int stow_config_read(struct stow_root *root, struct stow_config **ret_config, struct stow_err *err);
/* Read the configuration for reading and undoing, which work without one: when the file cannot be
 * read or parsed, return 1 with the defaults, and the error of stow_config_read() in `err`. */
int stow_config_read_anyway(struct stow_root *root, struct stow_config **ret_config,
			    struct stow_err *err);
/* Do as stow_config_read() from memory. `name` stands for the file in messages (for tests and
 * fuzzing). */
int stow_config_parse(const char *text, size_t len, const char *name,
		      struct stow_config **ret_config, struct stow_err *err);
void stow_config_free(struct stow_config *config);

/* Find what is reserved on a node: its own entry, or that of "*". NULL: nothing, or no
 * configuration. */
const struct stow_config_node *stow_config_reserved(const struct stow_config *config, int id);

/* Compute a digest of the reserved CPUs. Without a configuration (NULL), it is the digest of no
 * reserved CPUs. */
void stow_config_reserved_digest(const struct stow_config *config,
				 char ret[static STOW_DIGEST_LEN + 1]);

/* Check one container's request against the caps per request and per namespace (`used`: what the
 * namespace has already, NULL for nothing; `ns` may be NULL). -EPERM: the message names the key,
 * the value, the cap and the file that sets it. */
int stow_config_check(const struct stow_config *config, const char *ns,
		      const struct stow_caps *used, const struct stow_request *request,
		      struct stow_err *err);

/*
 * scope=pod: check whether the request of another container of the pod, which has no place yet, may
 * be reserved together with this container's. Otherwise an annotation could take a whole machine
 * for containers that never start. Everything that is reserved for the pod must be within
 *   - the cap of one container (the member alone), and the namespace's caps (`used` as above, which
 *     must not contain what is in `whole`);
 *   - `limits`: the pod's, where its cgroup has any, or else this container's own. A missing limit
 *     allows any amount. `whole` begins as this container's own completed request; a member that
 *     passes is added to its CPUs, memory and hugepages, so that the next one is checked with it.
 *     Call it once for each member without a record of its own. -EPERM: it may not; `whole` is
 *     unchanged. The caller refuses the request, or leaves the member to be planned when it starts.
 */
int stow_config_check_member(const struct stow_config *config, const char *ns,
			     const struct stow_caps *used, const struct stow_limits *limits,
			     const char *name, const struct stow_request *member,
			     struct stow_request *whole, struct stow_err *err);

STOW_DEFINE_CLEANUP(stow_config_free, struct stow_config);
