// SPDX-License-Identifier: Apache-2.0
/* Reading config.yaml: libcyaml checks its shape, libyaml tells where in the file something is. */
#include "place/config_yaml.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define LIST_MAX 4096 /* entries of a list: more than one a node or a namespace is a mistake */
#define TEXT_MAX 4096 /* bytes of a value */

#define TEXT(key, type, field)                                                                \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, field, 1, \
			       TEXT_MAX)
#define NUMBER(key, type, field) CYAML_FIELD_UINT(key, CYAML_FLAG_OPTIONAL, type, field)
#define NUMBER_OR_NOT(key, type, field) \
	CYAML_FIELD_UINT_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, field)
#define LIST(key, type, field, entry, min)                                                      \
	CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, field, entry, \
			     min, LIST_MAX)

static const cyaml_schema_field_t caps_fields[] = {
	NUMBER("cpus", struct stow_yaml_caps, cpus),
	TEXT("memory", struct stow_yaml_caps, memory),
	TEXT("hugepages", struct stow_yaml_caps, hugepages),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t reserved_fields[] = {
	CYAML_FIELD_STRING_PTR("node", CYAML_FLAG_POINTER, struct stow_yaml_reserved, node, 1,
			       TEXT_MAX),
	TEXT("cpus", struct stow_yaml_reserved, cpus),
	NUMBER_OR_NOT("count", struct stow_yaml_reserved, count),
	TEXT("memory", struct stow_yaml_reserved, memory),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t namespace_fields[] = {
	CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct stow_yaml_namespace, name, 1,
			       TEXT_MAX),
	NUMBER("cpus", struct stow_yaml_namespace, cpus),
	TEXT("memory", struct stow_yaml_namespace, memory),
	TEXT("hugepages", struct stow_yaml_namespace, hugepages),
	/* Text: libcyaml takes every word but "false" and the like for true. */
	TEXT("exclusive-cpus", struct stow_yaml_namespace, exclusive_cpus),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t reserved_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct stow_yaml_reserved, reserved_fields),
};

static const cyaml_schema_value_t namespace_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct stow_yaml_namespace, namespace_fields),
};

static const cyaml_schema_value_t text_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, TEXT_MAX),
};

static const cyaml_schema_field_t fields[] = {
	TEXT("mode", struct stow_yaml, mode),
	TEXT("default-policy", struct stow_yaml, default_policy),
	LIST("reserved", struct stow_yaml, reserved, &reserved_entry, 0),
	CYAML_FIELD_MAPPING_PTR("caps", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct stow_yaml,
				caps, caps_fields),
	LIST("namespaces", struct stow_yaml, namespaces, &namespace_entry, 1),
	LIST("allowed-keys", struct stow_yaml, allowed_keys, &text_entry, 1),
	LIST("runtimes", struct stow_yaml, runtimes, &text_entry, 1),
	NUMBER_OR_NOT("lease-seconds", struct stow_yaml, lease_seconds),
	TEXT("full-cores", struct stow_yaml, full_cores),
	TEXT("adopt", struct stow_yaml, adopt),
	TEXT("partitions", struct stow_yaml, partitions),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct stow_yaml, fields),
};

/* What libcyaml logs while it loads: first what is wrong, then where, innermost first. */
struct captured {
	char what[256];
	char where[128]; /* the field, or "" */
	unsigned int line;
	bool more_documents;
};

static void printable(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

__attribute__((format(printf, 3, 0))) static void capture(cyaml_log_t level, void *ctx,
							  const char *fmt, va_list args)
{
	struct captured *c = ctx;
	const char *text, *line;
	char buf[512];

	if (level < CYAML_LOG_WARNING)
		return;
	vsnprintf(buf, sizeof(buf), fmt, args);
	buf[strcspn(buf, "\n")] = '\0';
	printable(buf);
	text = strncmp(buf, "Load: ", 6) == 0 ? buf + 6 : buf;
	line = strstr(text, "(line: ");
	if (strstr(text, "Ignoring documents")) {
		c->more_documents = true;
	} else if (strncmp(text, "  in ", 5) == 0 && line) {
		const char *quote = strchr(text, '\'');

		if (c->line == 0)
			sscanf(line, "(line: %u", &c->line);
		if (!c->where[0] && strstr(text, "mapping field") && quote)
			snprintf(c->where, sizeof(c->where), "%.*s", (int)strcspn(quote + 1, "'"),
				 quote + 1);
	} else if (!c->what[0] && strncmp(text, "Backtrace", 9) != 0) {
		snprintf(c->what, sizeof(c->what), "%s", text);
	}
}

static const cyaml_config_t config = {
	.log_fn = capture,
	.mem_fn = cyaml_mem,
	.log_level = CYAML_LOG_WARNING,
	.flags = CYAML_CFG_NO_ALIAS,
};

/* --- places in the file --------------------------------------------------------------------------
 */

static yaml_node_t *member(yaml_document_t *doc, yaml_node_t *map, const char *key,
			   yaml_node_t **ret_key)
{
	if (!map || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *k = yaml_document_get_node(doc, p->key);

		if (!k || k->type != YAML_SCALAR_NODE ||
		    strcmp((const char *)k->data.scalar.value, key) != 0)
			continue;
		if (ret_key)
			*ret_key = k;
		return yaml_document_get_node(doc, p->value);
	}
	return NULL;
}

static bool open_document(const char *text, size_t len, yaml_parser_t *parser, yaml_document_t *doc)
{
	if (!yaml_parser_initialize(parser))
		return false;
	yaml_parser_set_input_string(parser, (const unsigned char *)text, len);
	return yaml_parser_load(parser, doc);
}

unsigned int stow_yaml_line(const char *text, size_t len, const char *key, size_t index,
			    const char *field)
{
	yaml_node_t *node, *at = NULL;
	yaml_document_t doc;
	yaml_parser_t parser;
	unsigned int line = 0;

	if (!open_document(text, len, &parser, &doc)) {
		yaml_parser_delete(&parser);
		return 0;
	}
	node = member(&doc, yaml_document_get_root_node(&doc), key, &at);
	if (node && node->type == YAML_SEQUENCE_NODE &&
	    index < (size_t)(node->data.sequence.items.top - node->data.sequence.items.start)) {
		node = yaml_document_get_node(&doc, node->data.sequence.items.start[index]);
		at = node;
	}
	if (field && member(&doc, node, field, &at) == NULL)
		at = node;
	if (at)
		line = (unsigned int)at->start_mark.line + 1;
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	return line;
}

/* The line of the first key with that name, or of the second; 0 when there is none. Every mapping
 * of the file is looked at. */
static unsigned int line_of_key(const char *text, size_t len, const char *key, bool second)
{
	yaml_document_t doc;
	yaml_parser_t parser;
	unsigned int line = 0;
	yaml_node_t *node;

	if (!open_document(text, len, &parser, &doc)) {
		yaml_parser_delete(&parser);
		return 0;
	}
	for (int i = 1; !line && (node = yaml_document_get_node(&doc, i)); i++) {
		int seen = 0;

		if (node->type != YAML_MAPPING_NODE)
			continue;
		for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
		     !line && p < node->data.mapping.pairs.top; p++) {
			yaml_node_t *k = yaml_document_get_node(&doc, p->key);

			if (k && k->type == YAML_SCALAR_NODE &&
			    strcmp((const char *)k->data.scalar.value, key) == 0 &&
			    ++seen == (second ? 2 : 1))
				line = (unsigned int)k->start_mark.line + 1;
		}
	}
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	return line;
}

/* --- loading -------------------------------------------------------------------------------------
 */

static const char *nearest_key(const char *key)
{
	static const char *const all[] = {
		"mode",		"default-policy", "reserved",	   "caps", "namespaces",
		"allowed-keys", "runtimes",	  "lease-seconds", "node", "cpus",
		"count",	"memory",	  "hugepages",	   "name", "exclusive-cpus",
		"full-cores",	"adopt",	  "partitions",	   NULL
	};
	int i = stow_nearest(key, all);

	return i < 0 ? NULL : all[i];
}

/* Not YAML at all: libyaml knows where. */
static int syntax_error(const char *text, size_t len, const char *name, struct stow_err *err)
{
	yaml_document_t doc;
	yaml_parser_t parser;
	char problem[128];
	unsigned long line;

	if (open_document(text, len, &parser, &doc)) {
		yaml_document_delete(&doc);
		yaml_parser_delete(&parser);
		return 0;
	}
	line = parser.problem_mark.line + 1;
	snprintf(problem, sizeof(problem), "%s", parser.problem ? parser.problem : "unreadable");
	yaml_parser_delete(&parser);
	printable(problem);
	return stow_err_set(err, EINVAL, "%s:%lu: this is not YAML: %s", name, line, problem);
}

static int load_error(const char *text, size_t len, const char *name, cyaml_err_t code,
		      const struct captured *c, struct stow_err *err)
{
	static const char unexpected[] = "Unexpected key: ",
			  again[] = "Mapping field already seen: ";
	static const char missing[] = "Missing required mapping field: ";
	unsigned int line = c->line;
	const char *key, *near;

	if (strncmp(c->what, unexpected, strlen(unexpected)) == 0) {
		key = c->what + strlen(unexpected);
		line = line_of_key(text, len, key, false);
		near = nearest_key(key);
		if (near && strcmp(near, key) != 0)
			return stow_err_set(err, EINVAL,
					    "%s:%u: unknown key \"%.64s\"; did you mean \"%s\"?",
					    name, line ? line : c->line, key, near);
		return stow_err_set(err, EINVAL, "%s:%u: unknown key \"%.64s\" here", name,
				    line ? line : c->line, key);
	}
	if (strncmp(c->what, again, strlen(again)) == 0) {
		key = c->what + strlen(again);
		line = line_of_key(text, len, key, true);
		return stow_err_set(err, EINVAL, "%s:%u: \"%.64s\" is given twice", name,
				    line ? line : c->line, key);
	}
	if (strncmp(c->what, missing, strlen(missing)) == 0)
		return stow_err_set(err, EINVAL, "%s:%u: this entry has no \"%s\"", name, line,
				    c->what + strlen(missing));
	if (c->where[0])
		return stow_err_set(err, EINVAL, "%s:%u: %.64s: %s", name, line, c->where,
				    c->what[0] ? c->what : cyaml_strerror(code));
	return stow_err_set(err, EINVAL, "%s:%u: %s", name, line ? line : 1,
			    c->what[0] ? c->what : cyaml_strerror(code));
}

int stow_yaml_load(const char *text, size_t len, const char *name, struct stow_yaml **ret_yaml,
		   struct stow_err *err)
{
	struct captured captured = { 0 };
	cyaml_config_t cfg = config;
	struct stow_yaml *yaml = NULL;
	cyaml_err_t code;
	int r;

	*ret_yaml = NULL;
	r = syntax_error(text, len, name, err);
	if (r < 0)
		return r;
	cfg.log_ctx = &captured;
	code = cyaml_load_data((const uint8_t *)text, len, &cfg, &schema, (cyaml_data_t **)&yaml,
			       NULL);
	if (code == CYAML_ERR_OOM)
		return stow_err_set(err, ENOMEM, "%s: out of memory", name);
	if (code != CYAML_OK)
		return load_error(text, len, name, code, &captured, err);
	if (captured.more_documents) {
		stow_yaml_free(yaml);
		return stow_err_set(err, EINVAL,
				    "%s: more than one document; everything behind the second "
				    "\"---\" would be ignored",
				    name);
	}
	*ret_yaml = yaml;
	return 0;
}

void stow_yaml_free(struct stow_yaml *yaml)
{
	cyaml_config_t cfg = config;
	struct captured captured = { 0 };

	cfg.log_ctx = &captured;
	if (yaml)
		cyaml_free(&cfg, &schema, yaml, 0);
}
