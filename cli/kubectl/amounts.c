// SPDX-License-Identifier: Apache-2.0
#include "cli/kubectl/amounts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/kubectl/kubectl.h"
#include "kube/json.h"

/* Parse thousandths, "1500m", which are valid for a number of CPUs. */
static int thousandths(const char *text, uint64_t *ret)
{
	size_t len = strlen(text);
	char digits[24];
	uint64_t n;
	int r;

	if (len < 2 || len > sizeof(digits) || text[len - 1] != 'm')
		return -EINVAL;
	memcpy(digits, text, len - 1);
	digits[len - 1] = '\0';
	r = stow_parse_u64(digits, INT64_MAX, &n, NULL);
	if (r == 0)
		*ret = n / 1000 + (n % 1000 > 0);
	return r;
}

/* Parse a Kubernetes quantity, rounded up to a whole number. -EINVAL, -ERANGE. */
static int parse_quantity(const char *text, uint64_t *ret)
{
	return thousandths(text, ret) == 0 ? 0 : stow_parse_quantity(text, ret, NULL);
}

/* Append an amount without a value. NULL: there are too many, or its name is too long. */
static struct kubectl_amount *add(struct kubectl_amounts *amounts, const char *name)
{
	struct kubectl_amount *amount = &amounts->list[amounts->n];
	size_t domain = strlen(KUBECTL_DRIVER "/");

	if (strncmp(name, KUBECTL_DRIVER "/", domain) == 0)
		name += domain;
	if (amounts->n == KUBECTL_AMOUNTS || strlen(name) >= sizeof(amount->name))
		return NULL;
	*amount = (struct kubectl_amount){ 0 };
	snprintf(amount->name, sizeof(amount->name), "%s", name);
	stow_text_ascii(amount->name);
	amounts->n++;
	return amount;
}

int kubectl_amounts_read(struct json_object *object, struct kubectl_amounts *ret,
			 struct stow_err *err)
{
	*ret = (struct kubectl_amounts){ 0 };
	if (!json_object_is_type(object, json_type_object))
		return 0;
	json_object_object_foreach(object, key, value) {
		const char *text = json_object_is_type(value, json_type_string)
					   ? json_object_get_string(value)
					   : "";
		struct kubectl_amount *amount = add(ret, key);
		char a[64], b[64];

		if (!amount)
			return stow_err_set(err, E2BIG, "\"%s\" is one capacity too many",
					    stow_text_quote(key, a, sizeof(a)));
		if (parse_quantity(text, &amount->value) < 0)
			return stow_err_set(err, EINVAL, "%s: \"%s\" is not an amount",
					    stow_text_quote(key, a, sizeof(a)),
					    stow_text_quote(text, b, sizeof(b)));
	}
	return 0;
}

void kubectl_amounts_read_capacity(struct json_object *object, struct kubectl_amounts *ret)
{
	*ret = (struct kubectl_amounts){ 0 };
	if (!json_object_is_type(object, json_type_object))
		return;
	json_object_object_foreach(object, key, value) {
		struct kubectl_amount *amount = add(ret, key);
		const char *step = stow_kube_text(value, "requestPolicy.validRange.step");

		if (!amount)
			continue;
		if (parse_quantity(stow_kube_text(value, "value"), &amount->value) < 0)
			ret->n--;
		else if (parse_quantity(step, &amount->step) < 0)
			amount->step = 0;
	}
}

const struct kubectl_amount *kubectl_amounts_find(const struct kubectl_amounts *amounts,
						  const char *name)
{
	for (size_t i = 0; i < amounts->n; i++)
		if (strcmp(amounts->list[i].name, name) == 0)
			return &amounts->list[i];
	return NULL;
}

uint64_t kubectl_round_up(uint64_t value, uint64_t step)
{
	uint64_t over = step ? value % step : 0;

	return over && value <= UINT64_MAX - (step - over) ? value + (step - over) : value;
}

const char *kubectl_amount_text(const char *name, uint64_t value, char *buf, size_t size)
{
	if (strcmp(name, "memory") == 0 || strncmp(name, "hugepages", 9) == 0)
		return stow_format_size(value, buf, size);
	snprintf(buf, size, "%" PRIu64, value);
	return buf;
}

void kubectl_amounts_text(const struct kubectl_amounts *amounts, char *buf, size_t size)
{
	for (size_t i = 0; i < amounts->n; i++) {
		const struct kubectl_amount *a = &amounts->list[i];
		char value[32];

		if (a->value)
			stow_append(buf, size, "%s%s %s", buf[0] ? ", " : "",
				    kubectl_amount_text(a->name, a->value, value, sizeof(value)),
				    a->name);
	}
}
