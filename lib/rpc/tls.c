/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutual TLS from PEM files. A server loads its certificate at every handshake: when a file has
 * changed, it reads the files again, and keeps the old ones if the new do not fit together (only
 * some may have been replaced so far).
 */

#include <errno.h>
#include <grpc/grpc_security.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/read.h"
#include "base/timestamp.h"
#include "rpc/internal.h"

#define PEM_MAX	 (1U << 20) /* bytes of one file */
#define FOLLOW_S 1	    /* seconds between two checks of a client's files */

struct pems {
	char *certificate, *key, *ca;
};

static void pems_done(struct pems *pems)
{
	free(pems->certificate);
	if (pems->key)
		explicit_bzero(pems->key, strlen(pems->key));
	free(pems->key);
	free(pems->ca);
	memset(pems, 0, sizeof(*pems));
}

static int read_pem(const char *path, const char *what, char **ret, struct stow_err *err)
{
	int r = stow_read_file(path, PEM_MAX, ret, NULL, err);

	return r < 0 ? stow_err_wrap(err, r, "%s", what) : 0;
}

/* Return the first certificate, or NULL. */
static X509 *first_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return cert;
}

/* Check that every certificate of a file can be read: the core ignores those behind the first that
 * cannot. */
static int check_certificates(const char *pem, const char *path, const char *what,
			      struct stow_err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	unsigned long reason;
	int n = 0;

	ERR_clear_error();
	for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++)
		X509_free(cert);
	reason = ERR_peek_last_error();
	ERR_clear_error();
	BIO_free(bio);
	if (n == 0)
		return stow_err_set(err, EINVAL, "%s: no %s in PEM format", path, what);
	if (ERR_GET_REASON(reason) != PEM_R_NO_START_LINE)
		return stow_err_set(err, EINVAL, "%s: %s %d cannot be read", path, what, n + 1);
	return 0;
}

/* Check the files before use, because the core reports bad PEM only as a failed handshake. */
static int check_pems(const struct stow_rpc_tls *tls, const struct pems *pems, struct stow_err *err)
{
	X509 *cert = first_certificate(pems->certificate);
	BIO *bio = BIO_new_mem_buf(pems->key, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	int r = check_certificates(pems->certificate, tls->certificate, "certificate", err);

	if (r == 0 && !key)
		r = stow_err_set(err, EINVAL, "%s: no private key in PEM format", tls->key);
	if (r == 0)
		r = check_certificates(pems->ca, tls->ca, "CA certificate", err);
	if (r == 0 && X509_check_private_key(cert, key) != 1)
		r = stow_err_set(err, EINVAL, "the key %s does not belong to the certificate %s",
				 tls->key, tls->certificate);
	ERR_clear_error();
	BIO_free(bio);
	EVP_PKEY_free(key);
	X509_free(cert);
	return r;
}

static int read_pems(const struct stow_rpc_tls *tls, struct pems *ret, struct stow_err *err)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	r = read_pem(tls->certificate, "certificate", &ret->certificate, err);
	if (r == 0)
		r = read_pem(tls->key, "key", &ret->key, err);
	if (r == 0)
		r = read_pem(tls->ca, "CA certificate", &ret->ca, err);
	if (r == 0)
		r = check_pems(tls, ret, err);
	if (r < 0)
		pems_done(ret);
	return r;
}

int stow_rpc_tls_given(const struct stow_rpc_tls *tls, struct stow_err *err)
{
	int n = !!tls->ca + !!tls->certificate + !!tls->key;

	if (n != 0 && n != 3)
		return stow_err_set(err, EINVAL,
				    "%s: missing; ca, certificate and key belong together",
				    !tls->ca		? "ca"
				    : !tls->certificate ? "certificate"
							: "key");
	return n == 3;
}

int stow_rpc_tls_check(const struct stow_rpc_tls *tls, struct stow_err *err)
{
	struct pems pems;
	int r = read_pems(tls, &pems, err);

	if (r == 0)
		pems_done(&pems);
	return r;
}

/* --- validity ------------------------------------------------------------- */

int rpc_tls_time(const ASN1_TIME *time, int64_t *ret)
{
	struct tm tm = { 0 };

	if (!ASN1_TIME_to_tm(time, &tm))
		return -EINVAL;
	*ret = timegm(&tm);
	return 0;
}

/* Check that a certificate is valid now. */
static int check_validity(const X509 *cert, const char *path, struct stow_err *err)
{
	const char *what = NULL;
	char text[STOW_TIMESTAMP_MAX];
	int64_t seconds = 0;

	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
		what = "expired on";
		(void)rpc_tls_time(X509_get0_notAfter(cert), &seconds);
	} else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
		what = "is not valid before";
		(void)rpc_tls_time(X509_get0_notBefore(cert), &seconds);
	}
	if (!what)
		return 0;
	return stow_err_set(err, EKEYEXPIRED, "the certificate %s %s %s", path, what,
			    stow_timestamp((uint64_t)seconds * STOW_SECOND, text));
}

/* Check that one of the CAs is valid now; the error is that of the last one. */
static int check_cas(const char *pem, const char *path, struct stow_err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	int r = -EKEYEXPIRED;

	for (X509 *cert; r < 0 && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
		r = check_validity(cert, path, err);
		X509_free(cert);
	}
	ERR_clear_error();
	BIO_free(bio);
	return r;
}

int stow_rpc_tls_check_valid(const struct stow_rpc_tls *tls, int64_t *ret_expires,
			     struct stow_err *err)
{
	struct pems pems;
	int64_t expires = 0;
	X509 *cert;
	int r = read_pems(tls, &pems, err);

	if (ret_expires)
		*ret_expires = 0;
	if (r < 0)
		return r;
	cert = first_certificate(pems.certificate);
	(void)rpc_tls_time(X509_get0_notAfter(cert), &expires);
	if (ret_expires)
		*ret_expires = expires;
	r = check_validity(cert, tls->certificate, err);
	if (r == 0)
		r = check_cas(pems.ca, tls->ca, err);
	X509_free(cert);
	pems_done(&pems);
	return r;
}

/* --- server --------------------------------------------------------------- */

struct reloader {
	struct reloader *next;
	struct stow_rpc_tls tls;
	char *paths;	      /* the strings of tls */
	uint64_t seen;	      /* stamp of the files that were served last; 0: none were */
	pthread_mutex_t lock; /* handshakes run on several threads */
};

/* One for each server of the process. The core does not tell when credentials are freed, so they
 * stay; the list is for leak checkers. */
static struct reloader *reloaders;
static pthread_mutex_t reloaders_lock = PTHREAD_MUTEX_INITIALIZER;

static grpc_ssl_certificate_config_reload_status fetch(void *user_data,
						       grpc_ssl_server_certificate_config **config)
{
	struct reloader *reloader = user_data;
	const struct stow_rpc_tls *tls = &reloader->tls;
	grpc_ssl_certificate_config_reload_status status;
	grpc_ssl_pem_key_cert_pair pair;
	struct pems pems;
	uint64_t now;

	pthread_mutex_lock(&reloader->lock);
	now = stow_read_stamp((const char *[]){ tls->certificate, tls->key, tls->ca }, 3);
	if (now == reloader->seen) {
		status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
	} else if (read_pems(tls, &pems, NULL) < 0) {
		status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
	} else {
		pair.private_key = pems.key;
		pair.cert_chain = pems.certificate;
		*config = grpc_ssl_server_certificate_config_create(pems.ca, &pair, 1);
		reloader->seen = now;
		pems_done(&pems);
		status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
	}
	pthread_mutex_unlock(&reloader->lock);
	return status;
}

static struct reloader *reloader_new(const struct stow_rpc_tls *tls)
{
	size_t a = strlen(tls->certificate) + 1, b = strlen(tls->key) + 1, c = strlen(tls->ca) + 1;
	struct reloader *reloader = calloc(1, sizeof(*reloader));

	if (reloader)
		reloader->paths = malloc(a + b + c);
	if (!reloader || !reloader->paths) {
		free(reloader);
		return NULL;
	}
	reloader->tls.certificate = memcpy(reloader->paths, tls->certificate, a);
	reloader->tls.key = memcpy(reloader->paths + a, tls->key, b);
	reloader->tls.ca = memcpy(reloader->paths + a + b, tls->ca, c);
	pthread_mutex_init(&reloader->lock, NULL);
	pthread_mutex_lock(&reloaders_lock);
	reloader->next = reloaders;
	reloaders = reloader;
	pthread_mutex_unlock(&reloaders_lock);
	return reloader;
}

grpc_server_credentials *rpc_tls_server(const struct stow_rpc_tls *tls, struct stow_err *err)
{
	grpc_ssl_server_credentials_options *options;
	struct reloader *reloader;

	if (stow_rpc_tls_check(tls, err) < 0)
		return NULL;
	reloader = reloader_new(tls);
	if (!reloader) {
		stow_err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
		GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, fetch, reloader);
	return grpc_ssl_server_credentials_create_with_options(options);
}

/* --- client --------------------------------------------------------------- */

/* Let the core watch the files; it presents the latest ones on each new connection. */
static grpc_channel_credentials *follow_files(const struct stow_rpc_tls *tls)
{
	grpc_tls_certificate_provider *provider = grpc_tls_certificate_provider_file_watcher_create(
		tls->key, tls->certificate, tls->ca, FOLLOW_S);
	grpc_tls_credentials_options *options = grpc_tls_credentials_options_create();

	grpc_tls_credentials_options_set_certificate_provider(options, provider);
	grpc_tls_credentials_options_watch_root_certs(options);
	grpc_tls_credentials_options_watch_identity_key_cert_pairs(options);
	grpc_tls_certificate_provider_release(provider);
	return grpc_tls_credentials_create(options); /* takes ownership of the options */
}

grpc_channel_credentials *rpc_tls_client(const struct stow_rpc_tls *tls, bool follow,
					 struct stow_err *err)
{
	grpc_channel_credentials *credentials;
	grpc_ssl_pem_key_cert_pair pair;
	struct pems pems;

	if (read_pems(tls, &pems, err) < 0)
		return NULL;
	pair.private_key = pems.key;
	pair.cert_chain = pems.certificate;
	credentials = follow ? follow_files(tls)
			     : grpc_ssl_credentials_create_ex(pems.ca, &pair, NULL, NULL);
	pems_done(&pems);
	if (!credentials)
		stow_err_set(err, EINVAL, "%s: not usable for TLS", tls->certificate);
	return credentials;
}

/* --- the CA's versions ---------------------------------------------------- */

uint64_t rpc_tls_ca_version(const char *path)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	uint64_t version = 0;
	char *pem = NULL;
	X509 *ca;

	if (read_pem(path, "CA certificate", &pem, NULL) < 0)
		return 0;
	ca = first_certificate(pem);
	if (ca && EVP_Digest(pem, strlen(pem), digest, NULL, EVP_sha256(), NULL))
		memcpy(&version, digest, sizeof(version));
	ERR_clear_error();
	X509_free(ca);
	free(pem);
	return version;
}
