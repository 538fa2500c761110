// SPDX-License-Identifier: Apache-2.0
#include "cli/view/measure_machine.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "node/measured.h"

static const char *const places[] = { "none", "hypervisor", "emulation" };

const char *measure_place_name(enum measure_place place)
{
	return places[place];
}

#if defined(__x86_64__) || defined(__i386__)
/* A hypervisor sets a bit, and has its name at 0x40000000 (Documentation/virt/kvm/x86/cpuid.rst);
 * QEMU's emulation has one of its own. */
static enum measure_place find_place(struct stow_root *root)
{
	unsigned int a, b, c, d;
	char name[13] = "";

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 31))
		return MEASURE_METAL;
	__cpuid(0x40000000, a, b, c, d);
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
	return strcmp(name, "TCGTCGTCGTCG") == 0 ? MEASURE_EMULATED : MEASURE_GUEST;
}
#else
static enum measure_place find_place(struct stow_root *root)
{
	if (stow_root_exists(root, "/proc/device-tree/hypervisor") == 1 ||
	    stow_root_exists(root, "/sys/hypervisor/type") == 1)
		return MEASURE_GUEST;
	return MEASURE_METAL;
}
#endif

static int find_turbo(struct stow_root *root)
{
	uint64_t value;

	if (stow_root_read_u64(root, &value, NULL,
			       "/sys/devices/system/cpu/intel_pstate/no_turbo") == 0)
		return !value;
	if (stow_root_read_u64(root, &value, NULL, "/sys/devices/system/cpu/cpufreq/boost") == 0)
		return value != 0;
	return -1;
}

static double find_load(struct stow_root *root)
{
	char text[128], *dot;
	uint64_t whole, hundredths;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/loadavg") < 0)
		return -1;
	text[strcspn(text, " ")] = '\0';
	dot = strchr(text, '.');
	if (!dot)
		return -1;
	*dot++ = '\0';
	if (stow_parse_u64(text, UINT32_MAX, &whole, NULL) < 0 ||
	    stow_parse_u64(dot, 99, &hundredths, NULL) < 0)
		return -1;
	return (double)whole + (double)hundredths / 100;
}

/* "32K", "16M": the sizes of caches. 0: it is no size. */
static uint64_t parse_cache_size(char *text)
{
	size_t digits = strspn(text, "0123456789");
	unsigned int shift = text[digits] == 'K' ? 10 : text[digits] == 'M' ? 20 : 0;
	uint64_t size;

	text[digits] = '\0';
	return stow_parse_u64(text, UINT64_MAX >> 20, &size, NULL) < 0 ? 0 : size << shift;
}

static void find_caches(struct stow_root *root, struct measure_machine *m)
{
	struct stow_idset cpus = { 0 }, indices = { 0 };

	(void)stow_root_list_ids(root, "/sys/devices/system/cpu", "cpu", &cpus, NULL);
	(void)stow_root_list_ids(root, "/sys/devices/system/cpu/cpu0/cache", "index", &indices,
				 NULL);
	STOW_IDSET_FOR(cpu, &cpus) {
		STOW_IDSET_FOR(i, &indices) {
			char text[32];

			if (stow_root_read_buf(root, text, sizeof(text), NULL,
					       "/sys/devices/system/cpu/cpu%d/cache/index%d/size",
					       cpu, i) > 0)
				m->cache = STOW_MAX(m->cache, parse_cache_size(text));
		}
	}
	(void)stow_root_read_u64(root, &m->line, NULL,
				 "/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size");
}

static void read_name(struct stow_root *root, struct measure_machine *m)
{
	char vendor[64] = "", product[64] = "";

	(void)stow_root_read_buf(root, vendor, sizeof(vendor), NULL,
				 "/sys/class/dmi/id/sys_vendor");
	(void)stow_root_read_buf(root, product, sizeof(product), NULL,
				 "/sys/class/dmi/id/product_name");
	snprintf(m->machine, sizeof(m->machine), "%s%s%s", vendor, *product ? " " : "", product);
	stow_text_clean(m->machine, sizeof(m->machine) - 1);
}

void measure_machine_read(struct stow_root *root, struct measure_machine *ret)
{
	*ret = (struct measure_machine){ .place = find_place(root),
					 .turbo = find_turbo(root),
					 .load = find_load(root) };
	if (stow_root_read_buf(root, ret->governor, sizeof(ret->governor), NULL,
			       "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") < 0)
		ret->governor[0] = '\0';
	stow_text_clean(ret->governor, sizeof(ret->governor) - 1);
	find_caches(root, ret);
	read_name(root, ret);
	stow_measured_digest(root, ret->firmware);
}

uint64_t measure_steal(struct stow_root *root)
{
	enum { STEAL = 8 }; /* the number among the first line's, proc(5) */
	char text[512], *at = text, *word;
	uint64_t ticks = 0;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/stat") < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	for (int i = 0; (word = strsep(&at, " "));)
		if (*word && i++ == STEAL && stow_parse_u64(word, UINT64_MAX, &ticks, NULL) < 0)
			ticks = 0;
	return ticks;
}
