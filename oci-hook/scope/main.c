// SPDX-License-Identifier: Apache-2.0
/*
 * numastow-scope UNIT PROPERTY LIST: sets AllowedCPUs= or AllowedMemoryNodes= of a running unit,
 * until the unit ends or the machine reboots (org.freedesktop.systemd1(5), SetUnitProperties).
 * Started by the hook and by numastow; not meant for people.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "base/idset.h"

/* systemd takes a set as an array of bytes, bit 0 of byte 0 first. */
static size_t to_bytes(const struct stow_idset *set, uint8_t bytes[STOW_IDSET_MAX / 8])
{
	size_t n = 0;

	memset(bytes, 0, STOW_IDSET_MAX / 8);
	STOW_IDSET_FOR(id, set) {
		bytes[id / 8] |= (uint8_t)(1U << (id % 8));
		n = (size_t)id / 8 + 1;
	}
	return n;
}

static int set_property(const char *unit, const char *property, const struct stow_idset *set)
{
	uint8_t bytes[STOW_IDSET_MAX / 8];
	size_t n = to_bytes(set, bytes);
	sd_bus_message *m = NULL;
	sd_bus *bus = NULL;
	int r;

	r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.systemd1",
						   "/org/freedesktop/systemd1",
						   "org.freedesktop.systemd1.Manager",
						   "SetUnitProperties");
	if (r >= 0)
		r = sd_bus_message_append(m, "sb", unit, 1 /* runtime */);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", property);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "ay");
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', bytes, n);
	for (int depth = 0; depth < 3 && r >= 0; depth++)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_call(bus, m, 0, NULL, NULL);
	sd_bus_message_unref(m);
	sd_bus_flush_close_unref(bus);
	return r;
}

int main(int argc, char **argv)
{
	struct stow_err err;
	struct stow_idset set;
	int r;

	if (argc != 4 ||
	    (strcmp(argv[2], "AllowedCPUs") && strcmp(argv[2], "AllowedMemoryNodes"))) {
		fprintf(stderr, "usage: numastow-scope UNIT AllowedCPUs|AllowedMemoryNodes LIST\n");
		return 2;
	}
	if (stow_idset_parse(argv[3], &set, &err) < 0) {
		fprintf(stderr, "numastow-scope: %s\n", err.msg);
		return 2;
	}
	r = set_property(argv[1], argv[2], &set);
	if (r < 0) {
		fprintf(stderr, "numastow-scope: %s of %s: %s\n", argv[2], argv[1], strerror(-r));
		return 1;
	}
	return 0;
}
