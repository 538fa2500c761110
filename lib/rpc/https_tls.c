/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/https_tls.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "rpc/log.h"

#define PEM_MAX	  (1U << 20) /* bytes of one file */
#define CHAIN_MAX 16	     /* certificates that are sent, and that a client sends */

/* What was read of the files. */
struct content {
	char *certificate, *key, *ca; /* PEM */
	gnutls_x509_trust_list_t trust;
	int64_t expires;
};

struct rpc_https_tls {
	char *certificate, *key, *ca; /* paths */
	char *first_ca;		      /* PEM */
	pthread_mutex_t lock;	      /* handshakes run on several threads */
	struct content content;
	uint64_t seen; /* stamp of the files */
};

static void content_done(struct content *content)
{
	if (content->key)
		explicit_bzero(content->key, strlen(content->key));
	free(content->certificate);
	free(content->key);
	free(content->ca);
	if (content->trust)
		gnutls_x509_trust_list_deinit(content->trust, 1);
	*content = (struct content){ 0 };
}

static gnutls_datum_t datum_of(const char *text)
{
	return (gnutls_datum_t){ .data = (unsigned char *)(uintptr_t)text,
				 .size = (unsigned int)strlen(text) };
}

/* --- reading and checking ------------------------------------------------- */

static int import_certificate(const char *pem, gnutls_x509_crt_t *ret)
{
	gnutls_datum_t datum = datum_of(pem);
	unsigned int n = 1;
	int r = gnutls_x509_crt_list_import(ret, &n, &datum, GNUTLS_X509_FMT_PEM, 0);

	/* More than one: a chain, of which the first is the server's own. */
	return r < 0 || n < 1 ? -1 : 0;
}

static int check_pair(const struct rpc_https_tls *tls, struct content *content,
		      struct stow_err *err)
{
	unsigned char of_certificate[64], of_key[64];
	size_t a = sizeof(of_certificate), b = sizeof(of_key);
	gnutls_datum_t pem = datum_of(content->key);
	gnutls_x509_crt_t certificate = NULL;
	gnutls_privkey_t key = NULL;
	gnutls_pubkey_t public = NULL;
	int r = 0;

	if (gnutls_privkey_init(&key) < 0 || gnutls_pubkey_init(&public) < 0)
		r = stow_err_set(err, ENOMEM, "out of memory");
	else if (import_certificate(content->certificate, &certificate) < 0)
		r = stow_err_set(err, EINVAL, "%s: no certificate in PEM format", tls->certificate);
	else if (gnutls_privkey_import_x509_raw(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0) < 0)
		r = stow_err_set(err, EINVAL, "%s: no private key in PEM format", tls->key);
	else if (gnutls_pubkey_import_privkey(public, key, 0, 0) < 0 ||
		 gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &b) < 0 ||
		 gnutls_x509_crt_get_key_id(certificate, GNUTLS_KEYID_USE_SHA256, of_certificate,
					    &a) < 0 ||
		 a != b || memcmp(of_certificate, of_key, a) != 0)
		r = stow_err_set(err, EINVAL, "the key %s does not belong to the certificate %s",
				 tls->key, tls->certificate);
	else
		content->expires = (int64_t)gnutls_x509_crt_get_expiration_time(certificate);
	gnutls_pubkey_deinit(public);
	gnutls_privkey_deinit(key);
	if (certificate)
		gnutls_x509_crt_deinit(certificate);
	return r;
}

static int read_ca(const struct rpc_https_tls *tls, struct content *content, struct stow_err *err)
{
	gnutls_datum_t pem;
	int r = stow_read_file(tls->ca, PEM_MAX, &content->ca, NULL, err);

	if (r < 0)
		return stow_err_wrap(err, r, "client CA");
	pem = datum_of(content->ca);
	if (gnutls_x509_trust_list_init(&content->trust, 0) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (gnutls_x509_trust_list_add_trust_mem(content->trust, &pem, NULL, GNUTLS_X509_FMT_PEM, 0,
						 0) < 1)
		return stow_err_set(err, EINVAL, "%s: no CA certificate in PEM format", tls->ca);
	return 0;
}

static int read_content(const struct rpc_https_tls *tls, struct content *ret, struct stow_err *err)
{
	struct content content = { 0 };
	int r = stow_read_file(tls->certificate, PEM_MAX, &content.certificate, NULL, err);

	r = r < 0 ? stow_err_wrap(err, r, "certificate") : 0;
	if (r == 0) {
		r = stow_read_file(tls->key, PEM_MAX, &content.key, NULL, err);
		r = r < 0 ? stow_err_wrap(err, r, "key") : 0;
	}
	if (r == 0 && tls->ca)
		r = read_ca(tls, &content, err);
	if (r == 0)
		r = check_pair(tls, &content, err);
	if (r < 0)
		content_done(&content);
	else
		*ret = content;
	return r;
}

static uint64_t stamp_of(const struct rpc_https_tls *tls)
{
	return stow_read_stamp((const char *[]){ tls->certificate, tls->key, tls->ca }, 3);
}

/* Read the files again if they have changed. If they do not fit together, because only some were
 * replaced so far, keep what was read before. The caller holds the lock. */
static void refresh(struct rpc_https_tls *tls)
{
	uint64_t now = stamp_of(tls);
	struct content fresh;
	struct stow_err err;
	int r;

	if (now == tls->seen)
		return;
	r = read_content(tls, &fresh, &err);
	/* Also after a failure: it is logged once for each version of the files. */
	tls->seen = now;
	if (r < 0) {
		stow_log(STOW_LOG_WARNING, "the last certificate is kept: the new one is not valid",
			 stow_why(&err));
		return;
	}
	content_done(&tls->content);
	tls->content = fresh;
	stow_log(STOW_LOG_NOTICE, "the certificate was read again",
		 stow_text("certificate", tls->certificate));
}

/* --- handshakes ----------------------------------------------------------- */

int rpc_https_tls_retrieve(struct rpc_https_tls *tls, gnutls_pcert_st **ret_certs,
			   unsigned int *ret_n, gnutls_privkey_t *ret_key, unsigned int *ret_flags)
{
	gnutls_pcert_st *certs = gnutls_calloc(CHAIN_MAX, sizeof(*certs));
	unsigned int n = CHAIN_MAX;
	gnutls_privkey_t key = NULL;
	gnutls_datum_t datum;
	bool fits;

	if (!certs || gnutls_privkey_init(&key) < 0) {
		gnutls_free(certs);
		return -1;
	}
	pthread_mutex_lock(&tls->lock);
	refresh(tls);
	datum = datum_of(tls->content.certificate);
	fits = gnutls_pcert_list_import_x509_raw(certs, &n, &datum, GNUTLS_X509_FMT_PEM, 0) >= 0;
	if (!fits)
		n = 0;
	datum = datum_of(tls->content.key);
	fits = fits &&
	       gnutls_privkey_import_x509_raw(key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0) >= 0;
	pthread_mutex_unlock(&tls->lock);
	if (!fits) {
		for (unsigned int i = 0; i < n; i++)
			gnutls_pcert_deinit(&certs[i]);
		gnutls_free(certs);
		gnutls_privkey_deinit(key);
		return -1;
	}
	*ret_certs = certs;
	*ret_n = n;
	*ret_key = key;
	*ret_flags = GNUTLS_CERT_RETR_DEINIT_ALL;
	return 0;
}

/* Verify a chain against the current CA. */
static bool is_of_ca(struct rpc_https_tls *tls, gnutls_x509_crt_t *chain, unsigned int n)
{
	static char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
	gnutls_typed_vdata_st wanted = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
					 .data = (unsigned char *)purpose };
	unsigned int status = 0;
	bool valid;

	pthread_mutex_lock(&tls->lock);
	refresh(tls);
	valid = tls->content.trust &&
		gnutls_x509_trust_list_verify_crt2(tls->content.trust, chain, n, &wanted, 1, 0,
						   &status, NULL) == 0 &&
		status == 0;
	pthread_mutex_unlock(&tls->lock);
	return valid;
}

bool rpc_https_tls_verify(struct rpc_https_tls *tls, gnutls_session_t session,
			  uint8_t ret_digest[static 16])
{
	unsigned int n = 0, imported = 0;
	const gnutls_datum_t *peers = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t chain[CHAIN_MAX];
	uint8_t digest[32];
	bool valid = peers && n > 0 && n <= CHAIN_MAX;

	for (; valid && imported < n; imported++) {
		if (gnutls_x509_crt_init(&chain[imported]) < 0) {
			valid = false;
			break;
		}
		if (gnutls_x509_crt_import(chain[imported], &peers[imported], GNUTLS_X509_FMT_DER) <
		    0)
			valid = false;
	}
	valid = valid && is_of_ca(tls, chain, n) &&
		gnutls_hash_fast(GNUTLS_DIG_SHA256, peers[0].data, peers[0].size, digest) >= 0;
	for (unsigned int i = 0; i < imported; i++)
		gnutls_x509_crt_deinit(chain[i]);
	if (valid)
		memcpy(ret_digest, digest, 16);
	return valid;
}

/* --- making and freeing --------------------------------------------------- */

int rpc_https_tls_new(const struct stow_rpc_tls *tls, struct rpc_https_tls **ret,
		      struct stow_err *err)
{
	struct rpc_https_tls *made = calloc(1, sizeof(*made));
	int r = 0;

	if (!made)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&made->lock, NULL);
	made->certificate = strdup(tls->certificate);
	made->key = strdup(tls->key);
	made->ca = tls->ca ? strdup(tls->ca) : NULL;
	if (!made->certificate || !made->key || (tls->ca && !made->ca))
		r = stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0) {
		made->seen = stamp_of(made);
		r = read_content(made, &made->content, err);
	}
	if (r == 0 && made->ca) {
		made->first_ca = strdup(made->content.ca);
		r = made->first_ca ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	}
	if (r < 0) {
		rpc_https_tls_free(made);
		return r;
	}
	*ret = made;
	return 0;
}

void rpc_https_tls_free(struct rpc_https_tls *tls)
{
	if (!tls)
		return;
	content_done(&tls->content);
	pthread_mutex_destroy(&tls->lock);
	free(tls->certificate);
	free(tls->key);
	free(tls->ca);
	free(tls->first_ca);
	free(tls);
}

const char *rpc_https_tls_ca(const struct rpc_https_tls *tls)
{
	return tls->first_ca;
}

int64_t rpc_https_tls_expires(struct rpc_https_tls *tls)
{
	int64_t expires;

	pthread_mutex_lock(&tls->lock);
	expires = tls->content.expires;
	pthread_mutex_unlock(&tls->lock);
	return expires;
}
