// SPDX-License-Identifier: Apache-2.0
#include "rpc/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/root.h"
#include "rpc/address.h"
#include "rpc/guard.h"

/* Enough for a scraper or two and a user with curl; the oldest connection makes room for another.
 * libmicrohttpd's own limit, at which it accepts no connection, is never reached. */
#define CONNECTIONS 64
#define IDLE	    5 /* seconds until a silent connection is closed */
#define STACK	    (256 << 10)
#define BUFFER	    8192 /* bytes of a request's head */

struct stow_metrics {
	struct MHD_Daemon *daemon;
	struct stow_metrics_options options;
	struct rpc_guard *guard;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
			      const char *type, char *text, size_t len)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result r;

	if (!response) {
		free(text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result answer_line(struct MHD_Connection *connection, unsigned int status,
				   const char *line)
{
	char *text = NULL;
	int n = asprintf(&text, "%s\n", line);

	return n < 0 ? MHD_NO : answer(connection, status, "text/plain", text, (size_t)n);
}

static enum MHD_Result answer_metrics(struct stow_metrics *m, struct MHD_Connection *connection)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return MHD_NO;
	m->options.render(out, m->options.ctx);
	if (fclose(out) != 0) {
		free(text);
		return MHD_NO;
	}
	return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4", text, len);
}

static enum MHD_Result answer_check(struct stow_metrics *m, struct MHD_Connection *connection,
				    stow_metrics_healthy_fn check)
{
	char why[512] = "ok";
	bool ok = check(m->options.ctx, why, sizeof(why));

	return answer_line(connection, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, why);
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **seen)
{
	struct stow_metrics *m = cls;

	/* libmicrohttpd calls once for the head alone; an answer then would end keep-alive. */
	if (!*seen) {
		*seen = m;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0; /* not read */
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET");
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(m, connection);
	if (strcmp(url, "/healthz") == 0)
		return answer_check(m, connection, m->options.healthy);
	if (strcmp(url, "/livez") == 0)
		return answer_check(m, connection, m->options.alive);
	return answer_line(connection, MHD_HTTP_NOT_FOUND,
			   "here are /metrics, /healthz and /livez");
}

int stow_metrics_start(const struct stow_metrics_options *options,
		       struct stow_metrics **ret_metrics, int *ret_port, struct stow_err *err)
{
	struct sockaddr_storage where;
	const union MHD_DaemonInfo *info;
	unsigned int flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC | MHD_USE_POLL;
	struct stow_rpc_limits limits;
	struct stow_metrics *m;
	socklen_t len;
	int r;

	r = stow_address_parse(options->address, &where, &len, err);
	if (r < 0)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return stow_err_set(err, ENOMEM, "out of memory");
	m->options = *options;
	stow_rpc_limits_defaults(&limits, CONNECTIONS);
	m->guard = rpc_guard_new(&limits, true);
	if (!m->guard) {
		free(m);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	if (where.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	errno = 0;
	m->daemon = MHD_start_daemon(flags, (uint16_t)stow_address_port(&where), NULL, NULL, handle,
				     m, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&where,
				     MHD_OPTION_CONNECTION_LIMIT, 2U * CONNECTIONS,
				     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)IDLE,
				     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)BUFFER,
				     MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK, MHD_OPTION_END);
	if (!m->daemon) {
		r = errno ? errno : EADDRINUSE;
		free(m);
		return stow_err_sys(err, r, "cannot serve metrics on %s", options->address);
	}
	info = MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_BIND_PORT);
	rpc_guard_open(m->guard, info ? info->port : stow_address_port(&where), false);
	if (ret_port)
		*ret_port = info ? info->port : stow_address_port(&where);
	*ret_metrics = m;
	return 0;
}

void stow_metrics_stop(struct stow_metrics *metrics)
{
	if (!metrics)
		return;
	rpc_guard_close(metrics->guard);
	MHD_stop_daemon(metrics->daemon);
	free(metrics);
}

/* --- the text format ------------------------------------------------------ */

void stow_metric_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(FILE *out, const char *text)
{
	for (; *text; text++)
		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else
			fputc(*text, out);
}

/* Print whole numbers, and times since the epoch, without an exponent: for readability, and because
 * readers of a time need its seconds. */
static void put_number(FILE *out, double value)
{
	if (value == floor(value) && fabs(value) < 1e15)
		fprintf(out, "%.0f\n", value);
	else
		fprintf(out, "%.15g\n", value);
}

void stow_metric(FILE *out, const char *name, double value, ...)
{
	const char *label, *sep = "{";
	va_list ap;

	fputs(name, out);
	va_start(ap, value);
	while ((label = va_arg(ap, const char *))) {
		fprintf(out, "%s%s=\"", sep, label);
		put_label(out, va_arg(ap, const char *));
		fputc('"', out);
		sep = ",";
	}
	va_end(ap);
	fputs(*sep == ',' ? "} " : " ", out);
	put_number(out, value);
}

static void number(FILE *out, const char *name, const char *type, const char *help, double value)
{
	stow_metric_head(out, name, type, help);
	stow_metric(out, name, value, NULL);
}

static size_t open_fds(struct stow_root *root)
{
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	dir = stow_root_opendir(root, NULL, "/proc/self/fd");
	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n ? n - 1 : 0; /* minus the descriptor of this directory */
}

/* Return the n-th number, from 0, of a text with blanks between; 0 when it is not a number. */
static uint64_t word(const char *text, int n)
{
	char digits[32];
	uint64_t value;

	for (; text && n > 0; n--) {
		text = strchr(text, ' ');
		text = text ? text + 1 : NULL;
	}
	if (!text)
		return 0;
	snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(text, " \n"), text);
	return stow_parse_u64(digits, UINT64_MAX, &value, NULL) < 0 ? 0 : value;
}

/* Return the start in seconds since the epoch, from /proc/self/stat (field 22, in ticks since
 * boot). */
static double started(struct stow_root *root)
{
	char stat[1024];
	uint64_t ticks, booted;
	const char *p;

	if (stow_root_read_buf(root, stat, sizeof(stat), NULL, "/proc/self/stat") < 0)
		return 0;
	p = strrchr(stat, ')');
	ticks = p ? word(p, 20) : 0;
	booted = (stow_clock_wall() - stow_clock_boot()) / STOW_SECOND;
	return (double)booted + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void stow_metrics_program(FILE *out, const char *build_info)
{
	struct stow_root *root = NULL;
	char statm[128] = "";
	struct rlimit files = { 0 };
	struct rusage used = { 0 };
	double page = (double)sysconf(_SC_PAGESIZE);

	stow_metric_head(out, build_info, "gauge", "1, with the version.");
	stow_metric(out, build_info, 1, "version", STOW_VERSION, NULL);
	if (stow_root_open("/", &root, NULL) < 0)
		return;
	(void)stow_root_read_buf(root, statm, sizeof(statm), NULL, "/proc/self/statm");
	getrusage(RUSAGE_SELF, &used);
	getrlimit(RLIMIT_NOFILE, &files);
	number(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	number(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
	       (double)word(statm, 1) * page);
	number(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.",
	       (double)word(statm, 0) * page);
	number(out, "process_open_fds", "gauge", "Open descriptors.", (double)open_fds(root));
	number(out, "process_max_fds", "gauge", "Descriptors that may be open.",
	       (double)files.rlim_cur);
	number(out, "process_start_time_seconds", "gauge", "Start, in seconds since the epoch.",
	       started(root));
	stow_root_free(root);
}

/* --- durations ------------------------------------------------------------ */

/* Return the upper end of bucket i, in ns: 10 us, 20 us, 50 us, 100 us ... 10 s. */
static uint64_t bucket_end(size_t i)
{
	static const uint64_t steps[] = { 1, 2, 5 };
	uint64_t end = 10000 * steps[i % 3];

	for (size_t k = 0; k < i / 3; k++)
		end *= 10;
	return end;
}

void stow_histogram_add(struct stow_histogram *h, uint64_t ns)
{
	size_t i = 0;

	while (i < STOW_HISTOGRAM_BUCKETS && ns > bucket_end(i))
		i++;
	atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum, ns, memory_order_relaxed);
}

void stow_histogram_render(FILE *out, const char *name, const char *help,
			   const struct stow_histogram *h)
{
	uint64_t count = 0;
	char series[128], le[32];

	stow_metric_head(out, name, "histogram", help);
	snprintf(series, sizeof(series), "%s_bucket", name);
	for (size_t i = 0; i < STOW_HISTOGRAM_BUCKETS; i++) {
		count += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
		snprintf(le, sizeof(le), "%g", (double)bucket_end(i) / 1e9);
		stow_metric(out, series, (double)count, "le", le, NULL);
	}
	count += atomic_load_explicit(&h->counts[STOW_HISTOGRAM_BUCKETS], memory_order_relaxed);
	stow_metric(out, series, (double)count, "le", "+Inf", NULL);
	fprintf(out, "%s_sum %.9g\n%s_count %" PRIu64 "\n", name,
		(double)atomic_load_explicit(&h->sum, memory_order_relaxed) / 1e9, name, count);
}
