// SPDX-License-Identifier: Apache-2.0
#include "kube/config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/read.h"
#include "base/yaml.h"
#include "kube/config_file.h"
#include "kube/plugin.h"

#define TOKEN_MAX 65536

/* --- what is in the files ------------------------------------------------- */

struct files {
	struct kube_file files[STOW_KUBE_PATHS];
	size_t n;
	const char *context; /* NULL: the current one */
};

/* Decode base64 of PEM, in which a NUL is not valid. */
static int decode(const char *text, const char *key, char **ret, struct stow_err *err)
{
	size_t len = strlen(text);
	unsigned char *out = malloc(len + 4);
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	int n = 0, end = 0, r = 0;

	if (!out || !ctx) {
		r = stow_err_set(err, ENOMEM, "out of memory");
	} else {
		EVP_DecodeInit(ctx);
		if (EVP_DecodeUpdate(ctx, out, &n, (const unsigned char *)text, (int)len) < 0 ||
		    EVP_DecodeFinal(ctx, out + n, &end) < 0)
			n = end = 0;
		out[n + end] = '\0';
		if (!strstr((char *)out, "-----BEGIN ") || strlen((char *)out) != (size_t)(n + end))
			r = stow_err_set(err, EINVAL, "%s is not PEM in base64", key);
	}
	EVP_ENCODE_CTX_free(ctx);
	if (r < 0) {
		free(out);
		return r;
	}
	*ret = (char *)out;
	return 0;
}

/* Take a PEM from one of its two keys: the data, or a path relative to the file's folder. */
static int take_pem(const char *path, const char *data, const char *value, const char *key,
		    char **ret_text, char **ret_file, struct stow_err *err)
{
	const char *slash = strrchr(path, '/');
	int n;

	if (data && data[0])
		return decode(data, key, ret_text, err);
	if (!value || !value[0])
		return 0;
	if (value[0] == '/' || !slash)
		n = asprintf(ret_file, "%s", value);
	else
		n = asprintf(ret_file, "%.*s/%s", (int)(slash - path), path, value);
	if (n >= 0)
		return 0;
	*ret_file = NULL;
	return stow_err_set(err, ENOMEM, "out of memory");
}

static int refuse(const struct kube_named *entry, const char *what, const char *meant,
		  struct stow_err *err)
{
	return stow_err_set(err, ENOTSUP, "\"%.64s\" has %s, which is not supported; %s",
			    entry->name, what, meant);
}

static int take_cluster(const char *path, const struct kube_named *entry,
			struct stow_kube_config *config, struct stow_err *err)
{
	static const char meant[] = "name the CA and an address that its certificate has";
	const struct kube_cluster *c = &entry->cluster;
	int r;

	if (!c->server)
		return stow_err_set(err, EINVAL, "cluster \"%.64s\" has no server", entry->name);
	if (c->insecure)
		return refuse(entry, "insecure-skip-tls-verify", meant, err);
	if (c->server_name)
		return refuse(entry, "tls-server-name", meant, err);
	if (c->proxy)
		return refuse(entry, "proxy-url", "use an address that is reached directly", err);
	config->server = strdup(c->server);
	r = config->server ? stow_kube_server_check(config->server, err)
			   : stow_err_set(err, ENOMEM, "out of memory");
	return r < 0 ? r
		     : take_pem(path, c->ca_data, c->ca, "certificate-authority-data", &config->ca,
				&config->ca_file, err);
}

static int take_user(const char *path, const struct kube_named *entry,
		     struct stow_kube_config *config, struct stow_err *err)
{
	static const char meant[] = "use a token, tokenFile or client-certificate";
	const struct kube_user *u = &entry->user;
	char *ignored = NULL;
	int r;

	if (u->exec)
		return refuse(entry, "exec", meant, err);
	if (u->plugin.command)
		return stow_kube_exec_new(path, &u->plugin, &config->exec, err);
	if (u->provider)
		return refuse(entry, "auth-provider", meant, err);
	if (u->password)
		return refuse(entry, "username and password", meant, err);
	if (u->as)
		return refuse(entry, "as (impersonation)", meant, err);
	r = take_pem(path, u->certificate_data, u->certificate, "client-certificate-data",
		     &config->certificate, &config->certificate_file, err);
	if (r == 0)
		r = take_pem(path, u->key_data, u->key, "client-key-data", &config->key,
			     &config->key_file, err);
	/* If there are both, tokenFile counts, as for kubectl. */
	if (r == 0)
		r = take_pem(path, NULL, u->token_file, "tokenFile", &ignored, &config->token_file,
			     err);
	if (r < 0)
		return r;
	if (!(config->certificate || config->certificate_file) !=
	    !(config->key || config->key_file))
		return stow_err_set(err, EINVAL,
				    "user \"%.64s\": client-certificate and client-key belong "
				    "together",
				    entry->name);
	if (u->token && u->token[0] && !config->token_file) {
		config->token = strdup(u->token);
		if (!config->token)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

/* The three lists of a file. */
enum list { CLUSTERS, USERS, CONTEXTS };

/* Find an entry by its name, and the path of its file. */
static const struct kube_named *find(const struct files *files, enum list list, const char *name,
				     const char **ret_path)
{
	for (size_t i = 0; name && i < files->n; i++) {
		const struct kube_file *f = &files->files[i];
		const struct kube_named *named = list == CLUSTERS ? f->clusters
						 : list == USERS  ? f->users
								  : f->contexts;
		size_t n = list == CLUSTERS ? f->n_clusters
			   : list == USERS  ? f->n_users
					    : f->n_contexts;

		for (size_t k = 0; k < n; k++)
			if (strcmp(named[k].name, name) == 0) {
				*ret_path = f->path;
				return &named[k];
			}
	}
	return NULL;
}

static const char *current(const struct files *files)
{
	for (size_t i = 0; i < files->n; i++)
		if (files->files[i].current && files->files[i].current[0])
			return files->files[i].current;
	return NULL;
}

static int take_context(const struct files *files, struct stow_kube_config *config,
			struct stow_err *err)
{
	const char *wanted = files->context ? files->context : current(files), *path;
	const struct kube_named *entry = find(files, CONTEXTS, wanted, &path), *cluster, *user;
	const char *user_path = NULL;
	int r;

	if (!wanted)
		return stow_err_set(err, EINVAL, "there is no current-context");
	if (!entry)
		return stow_err_set(err, EINVAL, "%s: there is no context \"%.64s\"",
				    files->context ? "context" : "current-context", wanted);
	cluster = find(files, CLUSTERS, entry->context.cluster, &path);
	if (!cluster)
		return stow_err_set(err, EINVAL, "context \"%.64s\": there is no cluster \"%.64s\"",
				    entry->name,
				    entry->context.cluster ? entry->context.cluster : "");
	user = find(files, USERS, entry->context.user, &user_path);
	if (!user && entry->context.user && entry->context.user[0])
		return stow_err_set(err, EINVAL, "context \"%.64s\": there is no user \"%.64s\"",
				    entry->name, entry->context.user);
	if (entry->context.ns && entry->context.ns[0]) {
		config->ns = strdup(entry->context.ns);
		if (!config->ns)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	r = take_cluster(path, cluster, config, err);
	return r == 0 && user ? take_user(user_path, user, config, err) : r;
}

/* Make the configuration of what was read; `paths` is for errors. */
static int conclude(const struct files *files, const char *paths, struct stow_kube_config **ret,
		    struct stow_err *err)
{
	_cleanup_(stow_kube_config_free_ptr) struct stow_kube_config *config =
		calloc(1, sizeof(*config));
	int r = config ? take_context(files, config, err)
		       : stow_err_set(err, ENOMEM, "out of memory");

	if (r < 0)
		return stow_err_wrap(err, r, "%.200s", paths);
	*ret = STOW_TAKE_PTR(config);
	return 0;
}

int stow_kube_config_parse(const char *text, size_t len, const char *path,
			   struct stow_kube_config **ret, struct stow_err *err)
{
	struct files files = { .files[0].path = path, .n = 1 };
	int r = kube_file_parse(&files.files[0], text, len, false, err);

	if (r == 0)
		r = conclude(&files, path, ret, err);
	kube_file_done(&files.files[0]);
	return r;
}

static int read_one(struct kube_file *file, bool plugins, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = stow_read_file(file->path, STOW_YAML_MAX, &text, &len, err);

	if (r < 0)
		return r;
	r = kube_file_parse(file, text, len, plugins, err);
	explicit_bzero(text, len);
	return r;
}

/* Read the files of a list, which is cut into paths. */
static int read_files(struct files *files, char *list, bool plugins, struct stow_err *err)
{
	bool several = strchr(list, ':') != NULL;
	char *rest = list, *path;

	while ((path = strsep(&rest, ":"))) {
		int r;

		if (!path[0])
			continue;
		if (files->n == STOW_KUBE_PATHS)
			return stow_err_set(err, E2BIG, "there are more than %d kubeconfigs",
					    STOW_KUBE_PATHS);
		files->files[files->n].path = path;
		r = read_one(&files->files[files->n++], plugins, err);
		if (r < 0 && !(several && r == -ENOENT))
			return r;
	}
	return 0;
}

int stow_kube_config_load(const struct stow_kube_source *source, struct stow_kube_config **ret,
			  struct stow_err *err)
{
	struct files files = { .context = source->context };
	_cleanup_free_ char *list = strdup(source->paths);
	int r = list ? read_files(&files, list, source->exec, err)
		     : stow_err_set(err, ENOMEM, "out of memory");

	if (r == 0)
		r = conclude(&files, source->paths, ret, err);
	for (size_t i = 0; i < files.n; i++)
		kube_file_done(&files.files[i]);
	return r;
}

int stow_kube_config_read(const char *path, struct stow_kube_config **ret, struct stow_err *err)
{
	struct files files = { .files[0].path = path, .n = 1 };
	int r = read_one(&files.files[0], false, err);

	if (r == 0)
		r = conclude(&files, path, ret, err);
	kube_file_done(&files.files[0]);
	return r;
}

/* --- a pod ---------------------------------------------------------------- */

int stow_kube_config_pod(const char *folder, const char *host, const char *port,
			 struct stow_kube_config **ret, struct stow_err *err)
{
	_cleanup_(stow_kube_config_free_ptr) struct stow_kube_config *config =
		calloc(1, sizeof(*config));
	uint64_t number;

	if (!config)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (!host || !host[0] || !port || !port[0])
		return stow_err_set(err, ENOENT,
				    "this is not a pod with a service account: "
				    "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not "
				    "set; give a kubeconfig");
	if (stow_parse_u64(port, 65535, &number, NULL) < 0 || number == 0)
		return stow_err_set(err, EINVAL, "KUBERNETES_SERVICE_PORT: \"%.64s\" is not a port",
				    port);
	if (asprintf(&config->server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host,
		     port) < 0)
		config->server = NULL;
	if (asprintf(&config->ca_file, "%s/ca.crt", folder) < 0)
		config->ca_file = NULL;
	if (asprintf(&config->token_file, "%s/token", folder) < 0)
		config->token_file = NULL;
	if (!config->server || !config->ca_file || !config->token_file)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (stow_kube_server_check(config->server, NULL) < 0)
		return stow_err_set(err, EINVAL, "KUBERNETES_SERVICE_HOST: \"%.64s\" is not a host",
				    host);
	*ret = STOW_TAKE_PTR(config);
	return 0;
}

/* --- using it ------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
	struct in_addr address;

	return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

static int check_parts(CURLU *url, const char *server, struct stow_err *err)
{
	static const CURLUPart none[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
					  CURLUPART_FRAGMENT };
	char *scheme = NULL, *host = NULL, *text;
	bool https, loopback;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(none); i++)
		if (curl_url_get(url, none[i], &text, 0) == CURLUE_OK) {
			curl_free(text);
			return stow_err_set(err, EINVAL,
					    "server: \"%.100s\" has more than a host, a port and a "
					    "path",
					    server);
		}
	if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
		curl_free(scheme);
		return stow_err_set(err, EINVAL, "server: \"%.100s\" is not a URL", server);
	}
	https = strcmp(scheme, "https") == 0;
	loopback = strcmp(scheme, "http") == 0 && is_loopback(host);
	curl_free(scheme);
	curl_free(host);
	return https || loopback
		       ? 0
		       : stow_err_set(err, EINVAL,
				      "server: \"%.100s\" is not https (http is for loopback only)",
				      server);
}

int stow_kube_server_check(char *server, struct stow_err *err)
{
	CURLU *url = curl_url();
	size_t len = strlen(server);
	int r;

	if (!url)
		return stow_err_set(err, ENOMEM, "out of memory");
	while (len && server[len - 1] == '/')
		server[--len] = '\0';
	r = curl_url_set(url, CURLUPART_URL, server, 0) == CURLUE_OK
		    ? check_parts(url, server, err)
		    : stow_err_set(err, EINVAL,
				   "server: \"%.100s\" is not a URL like "
				   "https://10.0.0.1:6443",
				   server);
	curl_url_cleanup(url);
	return r;
}

int stow_kube_config_check(const struct stow_kube_config *config, struct stow_err *err)
{
	const char *const files[] = { config->ca_file, config->certificate_file, config->key_file };
	_cleanup_free_ char *token = NULL;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++)
		if (files[i] && access(files[i], R_OK) < 0)
			return stow_err_sys(err, errno, "cannot read %s", files[i]);
	return stow_kube_config_token(config, &token, err);
}

int stow_kube_config_token(const struct stow_kube_config *config, char **ret, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	*ret = NULL;
	if (!config->token_file && !config->token)
		return 0;
	if (!config->token_file)
		text = strdup(config->token);
	else if ((r = stow_read_file(config->token_file, TOKEN_MAX, &text, &len, err)) < 0)
		return r;
	if (!text)
		return stow_err_set(err, ENOMEM, "out of memory");
	len = strlen(text);
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	/* The token becomes part of a header. */
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			len = 0;
	if (len == 0)
		return stow_err_set(err, EINVAL, "%s does not contain a token",
				    config->token_file ? config->token_file : "token:");
	*ret = STOW_TAKE_PTR(text);
	return 0;
}

void stow_kube_config_free(struct stow_kube_config *config)
{
	char *const texts[] = { config ? config->key : NULL, config ? config->token : NULL };

	if (!config)
		return;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(texts); i++)
		if (texts[i])
			explicit_bzero(texts[i], strlen(texts[i]));
	free(config->server);
	free(config->ca);
	free(config->ca_file);
	free(config->certificate);
	free(config->certificate_file);
	free(config->key);
	free(config->key_file);
	free(config->token);
	free(config->token_file);
	free(config->ns);
	stow_kube_exec_free(config->exec);
	free(config);
}
