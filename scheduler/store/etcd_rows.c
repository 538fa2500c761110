// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/etcd_rows.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"

#define ANSWER_KEPT (24 * 3600 * STOW_SECOND) /* at most, after it has expired */

/* --- operations ----------------------------------------------------------- */

static void op_done(struct etcd_op *op)
{
	free(op->key);
	free(op->value);
	stow_rpc_message_free(op->row);
	*op = (struct etcd_op){ 0 };
}

void etcd_ops_done(struct etcd_ops *ops)
{
	for (size_t i = 0; i < ops->n; i++)
		op_done(&ops->ops[i]);
	free(ops->ops);
	*ops = (struct etcd_ops){ 0 };
}

static struct etcd_op *find(const struct etcd_ops *ops, const char *key, size_t len)
{
	for (size_t i = 0; ops && i < ops->n; i++)
		if (ops->ops[i].key_len == len && memcmp(ops->ops[i].key, key, len) == 0)
			return &ops->ops[i];
	return NULL;
}

/* Add an operation. Takes ownership, also on failure. */
static int add(struct etcd_ops *ops, struct etcd_op *op, struct stow_err *err)
{
	struct etcd_op *at = find(ops, op->key, op->key_len);

	if (!at && ops->n == ops->room) {
		size_t room = ops->room ? ops->room * 2 : 16;
		void *more = reallocarray(ops->ops, room, sizeof(*ops->ops));

		if (!more) {
			op_done(op);
			return stow_err_set(err, ENOMEM, "out of memory");
		}
		ops->ops = more;
		ops->room = room;
	}
	if (at) {
		ops->bytes -= at->key_len + at->value_len;
		op_done(at);
	} else {
		at = &ops->ops[ops->n++];
	}
	*at = *op;
	ops->bytes += at->key_len + at->value_len;
	*op = (struct etcd_op){ 0 };
	return 0;
}

int etcd_ops_merge(struct etcd_ops *ops, struct etcd_ops *more, struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < more->n && r == 0; i++)
		r = add(ops, &more->ops[i], err);
	etcd_ops_done(more);
	return r;
}

/* --- keys and values ------------------------------------------------------ */

static const char letters[STOW_WRITE_KINDS] = {
	[STOW_WRITE_RESERVATION] = 'r',	  [STOW_WRITE_NO_RESERVATION] = 'r',
	[STOW_WRITE_FENCE] = 'f',	  [STOW_WRITE_NO_FENCE] = 'f',
	[STOW_WRITE_ANSWER] = 'a',	  [STOW_WRITE_NO_ANSWER] = 'a',
	[STOW_WRITE_DRAIN] = 'd',	  [STOW_WRITE_NO_DRAIN] = 'd',
	[STOW_WRITE_WEBHOOK] = 'w',	  [STOW_WRITE_NO_WEBHOOK] = 'w',
	[STOW_WRITE_WEBHOOK_LATER] = 'w',
};

static bool deletes(enum stow_write_kind kind)
{
	return kind == STOW_WRITE_NO_RESERVATION || kind == STOW_WRITE_NO_FENCE ||
	       kind == STOW_WRITE_NO_ANSWER || kind == STOW_WRITE_NO_DRAIN ||
	       kind == STOW_WRITE_NO_WEBHOOK || kind == STOW_WRITE_NO_COPYING;
}

static char *key_of(const char *prefix, enum stow_write_kind kind, uint64_t number,
		    const char *name)
{
	char letter = letters[kind], *key = NULL;
	int len = !letter ? asprintf(&key, "%s" ETCD_COPYING, prefix)
		  : letter == 'f' || letter == 'a'
			  ? asprintf(&key, "%s%c/%s", prefix, letter, name)
			  : asprintf(&key, "%s%c/%016" PRIx64, prefix, letter, number);

	return len < 0 ? NULL : key;
}

static void fill_row(const struct stow_write *w, PbStoreRow *row)
{
	row->message.data = w->bytes;
	row->message.len = w->len;
	switch (w->kind) {
	case STOW_WRITE_FENCE:
		row->message.len = 0;
		row->numa_nodes = w->bytes; /* NUL-terminated by writes.c */
		break;
	case STOW_WRITE_ANSWER:
		row->digest = w->a;
		row->expires = w->b;
		break;
	case STOW_WRITE_DRAIN:
		row->flags = w->b;
		row->request_id = w->text;
		break;
	case STOW_WRITE_WEBHOOK:
		row->drain = w->b;
		row->event = w->text;
		row->url = w->more;
		row->created = row->next = w->c;
		break;
	default:
		row->request_id = w->text;
	}
}

static int set_value(struct etcd_op *op, const PbStoreRow *row, bool keep)
{
	size_t len = pb_store_row__get_packed_size(row);

	op->value = malloc(len + 1);
	if (!op->value)
		return -ENOMEM;
	pb_store_row__pack(row, op->value);
	op->value_len = len;
	if (keep) {
		op->row = pb_store_row__unpack(NULL, len, op->value);
		if (!op->row)
			return -ENOMEM;
	}
	return 0;
}

/* --- webhooks ------------------------------------------------------------- */

/* Return the webhook row of that number after `before` and `ops`; NULL: there is none. */
static const PbStoreRow *hook_row(const struct etcd_ops *ops, const struct etcd_ops *before,
				  const struct etcd_hook *hooks, const char *key, uint64_t seq)
{
	const struct etcd_op *op = find(ops, key, strlen(key));

	if (!op)
		op = find(before, key, strlen(key));
	if (op)
		return op->row;
	while (hooks && hooks->seq != seq)
		hooks = hooks->next;
	return hooks ? hooks->row : NULL;
}

static int delete_hook(struct etcd_ops *ops, const char *prefix, uint64_t seq, struct stow_err *err)
{
	struct etcd_op op = { .seq = seq };

	op.key = key_of(prefix, STOW_WRITE_NO_WEBHOOK, seq, NULL);
	if (!op.key)
		return stow_err_set(err, ENOMEM, "out of memory");
	op.key_len = strlen(op.key);
	return add(ops, &op, err);
}

static bool is_of(const PbStoreRow *row, const struct stow_write *w)
{
	return row && row->drain == w->a && strcmp(row->event, w->text) == 0;
}

static int delete_hooks_of(struct etcd_ops *ops, const char *prefix, const struct stow_write *w,
			   const struct etcd_ops *before, const struct etcd_hook *hooks,
			   struct stow_err *err)
{
	const struct etcd_ops *lists[] = { before, ops };
	int r = 0;

	for (; hooks && r == 0; hooks = hooks->next)
		if (is_of(hooks->row, w))
			r = delete_hook(ops, prefix, hooks->seq, err);
	for (size_t l = 0; l < 2; l++)
		for (size_t i = 0; lists[l] && i < lists[l]->n && r == 0; i++)
			if (is_of(lists[l]->ops[i].row, w))
				r = delete_hook(ops, prefix, lists[l]->ops[i].seq, err);
	return r;
}

void etcd_hooks_apply(struct etcd_hook **hooks, struct etcd_ops *ops)
{
	for (size_t i = 0; i < ops->n; i++) {
		struct etcd_op *op = &ops->ops[i];
		struct etcd_hook **at = hooks, *hook;

		if (!op->seq)
			continue;
		while (*at && (*at)->seq != op->seq)
			at = &(*at)->next;
		hook = *at;
		if (!hook && op->row) {
			hook = *at = calloc(1, sizeof(*hook));
			if (!hook)
				continue; /* it will be deleted by its number */
			hook->seq = op->seq;
		}
		if (!hook)
			continue;
		stow_rpc_message_free(hook->row);
		hook->row = STOW_TAKE_PTR(op->row);
		if (!hook->row) {
			*at = hook->next;
			free(hook);
		}
	}
}

void etcd_hooks_free(struct etcd_hook **hooks)
{
	while (*hooks) {
		struct etcd_hook *hook = *hooks;

		*hooks = hook->next;
		stow_rpc_message_free(hook->row);
		free(hook);
	}
}

/* --- writes --------------------------------------------------------------- */

static int add_write(struct etcd_ops *ops, const char *prefix, const struct stow_write *w,
		     const struct etcd_ops *before, const struct etcd_hook *hooks, int64_t lease,
		     struct stow_err *err)
{
	PbStoreRow row = PB_STORE_ROW__INIT;
	struct etcd_op op = { .lease = lease };
	bool is_hook = letters[w->kind] == 'w';
	const PbStoreRow *old;

	op.key = key_of(prefix, w->kind, w->a, w->text);
	if (!op.key)
		return stow_err_set(err, ENOMEM, "out of memory");
	op.key_len = strlen(op.key);
	op.seq = is_hook ? w->a : 0;
	if (w->kind == STOW_WRITE_WEBHOOK_LATER) {
		old = hook_row(ops, before, hooks, op.key, w->a);
		if (!old) {
			op_done(&op);
			return 0; /* the row does not exist */
		}
		row = *old;
		row.next = w->b;
		row.attempts = w->c;
	} else {
		fill_row(w, &row);
	}
	if (!deletes(w->kind) && set_value(&op, &row, is_hook) < 0) {
		op_done(&op);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	return add(ops, &op, err);
}

int etcd_ops_add(struct etcd_ops *ops, const char *prefix, const struct stow_writes *writes,
		 const struct etcd_ops *before, const struct etcd_hook *hooks,
		 int64_t (*answer_lease)(void *ctx, uint64_t left), void *ctx, struct stow_err *err)
{
	int r = 0;

	for (const struct stow_write *w = writes->first; w && r == 0; w = w->next) {
		if (w->kind == STOW_WRITE_PROBE)
			continue; /* nothing to do: every transaction writes PREFIXcommit anyway */
		/* As in SQLite's schema. */
		if (!deletes(w->kind) && w->kind != STOW_WRITE_WEBHOOK_LATER &&
		    w->kind != STOW_WRITE_NO_WEBHOOK_OF && !w->bytes)
			return stow_err_set(err, EINVAL, "the store: a row without a message");
		if (w->kind == STOW_WRITE_NO_WEBHOOK_OF)
			r = delete_hooks_of(ops, prefix, w, before, hooks, err);
		else
			r = add_write(ops, prefix, w, before, hooks,
				      w->kind == STOW_WRITE_ANSWER ? answer_lease(ctx, w->c) : 0,
				      err);
	}
	return r;
}

int etcd_ops_put(struct etcd_ops *ops, const char *prefix, const char *name, void *value,
		 size_t len, struct stow_err *err)
{
	struct etcd_op op = { .value = value, .value_len = len };

	if (asprintf(&op.key, "%s%s", prefix, name) < 0) {
		op.key = NULL;
		op_done(&op);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	op.key_len = strlen(op.key);
	return add(ops, &op, err);
}

/* --- bundles -------------------------------------------------------------- */

int etcd_ops_pack(const struct etcd_ops *ops, void **ret_value, size_t *ret_len,
		  struct stow_err *err)
{
	_cleanup_free_ PbStoreChange *changes = calloc(ops->n + 1, sizeof(*changes));
	_cleanup_free_ PbStoreChange **list = calloc(ops->n + 1, sizeof(*list));
	PbStoreBundle bundle = PB_STORE_BUNDLE__INIT;
	size_t len, done = 0;
	int r = 0;

	if (!changes || !list)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (; done < ops->n && r == 0; done++) {
		PbStoreChange *change = list[done] = &changes[done];
		struct etcd_op *op = &ops->ops[done];

		pb_store_change__init(change);
		change->key.data = (uint8_t *)op->key;
		change->key.len = op->key_len;
		if (op->value)
			change->row = pb_store_row__unpack(NULL, op->value_len, op->value);
		if (op->value && !change->row)
			r = -ENOMEM;
	}
	bundle.changes = list;
	bundle.n_changes = done;
	len = pb_store_bundle__get_packed_size(&bundle);
	*ret_value = r == 0 ? malloc(len + 1) : NULL;
	if (*ret_value)
		pb_store_bundle__pack(&bundle, *ret_value);
	*ret_len = len;
	for (size_t i = 0; i < done; i++)
		stow_rpc_message_free(changes[i].row);
	return *ret_value ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

int etcd_ops_unpack(struct etcd_ops *ops, const char *prefix, const void *value, size_t len,
		    struct stow_err *err)
{
	PbStoreBundle *bundle = pb_store_bundle__unpack(NULL, len, value);
	size_t skip = strlen(prefix);
	int r = 0;

	if (!bundle)
		return stow_err_set(err, EUCLEAN, "the store: %sbundle is damaged", prefix);
	for (size_t i = 0; i < bundle->n_changes && r == 0; i++) {
		const PbStoreChange *change = bundle->changes[i];
		struct etcd_op op = { 0 };

		if (change->key.len <= skip || memcmp(change->key.data, prefix, skip) != 0)
			r = stow_err_set(err, EUCLEAN, "the store: %sbundle is damaged", prefix);
		if (r < 0)
			break;
		op.key = malloc(change->key.len + 1);
		if (!op.key || (change->row && set_value(&op, change->row, false) < 0)) {
			r = stow_err_set(err, ENOMEM, "out of memory");
			op_done(&op);
			break;
		}
		memcpy(op.key, change->key.data, change->key.len);
		op.key_len = change->key.len;
		r = add(ops, &op, err);
	}
	stow_rpc_message_free(bundle);
	return r;
}

/* --- reading -------------------------------------------------------------- */

static int load_webhook(uint64_t seq, PbStoreRow **row, const struct stow_store_load *load,
			struct etcd_hook **hooks, struct stow_err *err)
{
	struct stow_store_webhook webhook = {
		.seq = seq,
		.drain = (*row)->drain,
		.event = (*row)->event,
		.url = (*row)->url,
		.body = (*row)->message.data,
		.len = (*row)->message.len,
		.created = (*row)->created,
		.next = (*row)->next,
		.attempts = (*row)->attempts,
	};
	struct etcd_hook *hook = calloc(1, sizeof(*hook));

	if (!hook)
		return stow_err_set(err, ENOMEM, "out of memory");
	hook->seq = seq;
	hook->row = *row;
	hook->next = *hooks;
	*hooks = hook;
	*row = NULL;
	return load->webhook(load->ctx, &webhook, err);
}

static int load_row(char letter, uint64_t id, const char *name, PbStoreRow **row,
		    const struct stow_store_load *load, struct etcd_hook **hooks,
		    struct stow_err *err)
{
	const PbStoreRow *in = *row;
	struct stow_idset set;
	int r;

	switch (letter) {
	case 'r':
		return load->reservation(load->ctx, id, in->message.data, in->message.len,
					 in->request_id, err);
	case 'f':
		r = stow_idset_parse(in->numa_nodes, &set, err);
		return r < 0 ? r : load->fence(load->ctx, name, &set, err);
	case 'a':
		return load->answer(load->ctx, name, in->digest, in->expires, in->message.data,
				    in->message.len, err);
	case 'd':
		return load->drain(load->ctx, id, in->flags, in->message.data, in->message.len,
				   in->request_id, err);
	default:
		return load_webhook(id, row, load, hooks, err);
	}
}

int etcd_row_load(const char *prefix, const struct etcd_key *key,
		  const struct stow_store_load *load, struct etcd_hook **hooks,
		  struct stow_err *err)
{
	size_t skip = strlen(prefix), len = key->key_len - skip;
	_cleanup_free_ char *name = strndup((const char *)key->key + skip, len);
	bool named = name && (name[0] == 'f' || name[0] == 'a');
	const char *at = name ? name + 2 : NULL;
	PbStoreRow *row;
	uint64_t id = 0;
	int r;

	if (!name)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (strlen(name) < 2 || !strchr("rfadw", name[0]) || name[1] != '/')
		return 0;
	row = pb_store_row__unpack(NULL, key->value_len, key->value);
	if (!row || strlen(name) != len || !*at ||
	    (!named && (len != 18 || !stow_scan_hex(&at, &id) || *at || id == 0))) {
		stow_rpc_message_free(row);
		return stow_err_set(err, EUCLEAN, "the store: key %s%.128s is damaged", prefix,
				    name);
	}
	/* etcd removes answers by their leases. One without a lease is dropped here; by another
	 * scheduler's clock it may be younger. */
	if (name[0] == 'a' && !key->lease &&
	    stow_clock_elapsed(row->expires, stow_clock_wall()) > ANSWER_KEPT)
		r = 0;
	else
		r = load_row(name[0], id, name + 2, &row, load, hooks, err);
	stow_rpc_message_free(row);
	return r;
}
