// SPDX-License-Identifier: Apache-2.0
#include "rpc/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

int stow_address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
		       struct stow_err *err)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	char host[INET6_ADDRSTRLEN];
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool six = text[0] == '[';
	uint64_t port;

	if (six && len > 2 && colon[-1] == ']') {
		text++;
		len -= 2;
	} else if (six) {
		len = 0;
	}
	if (len == 0 || len >= sizeof(host) || stow_parse_u64(colon + 1, 65535, &port, NULL) < 0)
		goto invalid;
	memcpy(host, text, len);
	host[len] = '\0';
	memset(ret, 0, sizeof(*ret));
	if (six && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		in6.sin6_port = htons((uint16_t)port);
		memcpy(ret, &in6, sizeof(in6));
		*ret_len = sizeof(in6);
		return 0;
	}
	if (!six && inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		in.sin_port = htons((uint16_t)port);
		memcpy(ret, &in, sizeof(in));
		*ret_len = sizeof(in);
		return 0;
	}
invalid:
	return stow_err_set(err, EINVAL,
			    "\"%.64s\" is not an address like 127.0.0.1:7200 or [::1]:7200", text);
}

int stow_target_complete(const char *text, int port, char *ret, size_t size, struct stow_err *err)
{
	const char *colon = strrchr(text, ':'), *end = text + strlen(text);
	bool six = text[0] == '[';
	uint64_t given = (uint64_t)port;

	if (strncmp(text, "unix:", 5) == 0) {
		snprintf(ret, size, "%s", text);
		return 0;
	}
	if (six && (!strchr(text, ']') || (colon && colon < strchr(text, ']'))))
		colon = NULL;
	if (!six && colon && memchr(text, ':', (size_t)(colon - text)))
		return stow_err_set(err, EINVAL,
				    "\"%.128s\": expected [ADDRESS]:PORT for an IPv6 address",
				    text);
	if (colon && (stow_parse_u64(colon + 1, 65535, &given, NULL) < 0 || given == 0))
		return stow_err_set(err, EINVAL, "\"%.128s\": the port is not 1 to 65535", text);
	end = colon ? colon : end;
	if (end == text || strcspn(text, " \t/@") < (size_t)(end - text) || (six && end[-1] != ']'))
		return stow_err_set(err, EINVAL, "\"%.128s\" is not HOST or HOST:PORT", text);
	if ((size_t)snprintf(ret, size, "%.*s:%d", (int)(end - text), text, (int)given) >= size)
		return stow_err_set(err, EINVAL, "\"%.64s...\" is too long", text);
	return 0;
}

bool stow_address_is_loopback(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

bool stow_address_is_any(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

	if (address->ss_family == AF_INET)
		return in->sin_addr.s_addr == htonl(INADDR_ANY);
	return address->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

int stow_address_of_self(const char *text, int port, char *ret, size_t size, struct stow_err *err)
{
	const char *colon = strrchr(text, ':');
	struct sockaddr_storage address;
	socklen_t len;
	int r = stow_address_parse(text, &address, &len, err);

	if (r < 0)
		return r;
	if (stow_address_is_any(&address))
		snprintf(ret, size, "%s:%d", address.ss_family == AF_INET6 ? "[::1]" : "127.0.0.1",
			 port);
	else
		snprintf(ret, size, "%.*s:%d", (int)(colon - text), text, port);
	return 0;
}

int stow_address_port(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)address)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
}
