// SPDX-License-Identifier: Apache-2.0
/*
 * numastow-scope CGROUP INODE PROPERTY LIST: sets AllowedCPUs= or AllowedMemoryNodes= of the
 * running unit that has exactly this cgroup, until the unit ends or the machine reboots
 * (org.freedesktop.systemd1(5)). Started by the hook and by numastow; not meant for people.
 *
 * systemd is asked whose the cgroup is, because a name proves nothing: whoever may make cgroups
 * below his own can give them the name of another container's unit. And systemd names the nearest
 * unit above when the cgroup is nobody's. Therefore the unit's cgroup is compared, path and inode.
 *
 * A property that is empty is left so: then systemd does not write the file, and the caller's own
 * write stays.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/idset.h"
#include "base/parse.h"

#define SYSTEMD	   "org.freedesktop.systemd1"
#define UNIT_PATH  "/org/freedesktop/systemd1/unit"
#define TIMEOUT_US (2 * UINT64_C(1000000)) /* for each answer */

enum { SET = 0, FAILED = 1, USAGE = 2, NOTHING = 3 };

/* The unit's object, and the interface that has the properties of its kind. */
struct unit {
	char *object, *name;
	const char *interface;
};

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

static void unit_done(struct unit *unit)
{
	free(unit->object);
	free(unit->name);
}

static void bus_close_ptr(sd_bus **bus)
{
	sd_bus_flush_close_unref(*bus);
}

/* An error of the bus as -errno, with its text. */
static int bus_error(int r, const sd_bus_error *error, const char *what, struct stow_err *err)
{
	if (r >= 0)
		return r;
	return stow_err_set(err, -r, "%s: %s", what,
			    error->message ? error->message : strerror(-r));
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len > n && strcmp(text + len - n, end) == 0;
}

/* 1, or 0: systemd has no unit there, or one of a kind that no container is in. */
static int find_unit(sd_bus *bus, const char *cgroup, struct unit *ret, struct stow_err *err)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
	const char *object;
	int r;

	r = sd_bus_call_method(bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
			       "GetUnitByControlGroup", &error, &answer, "s", cgroup);
	if (r < 0 && sd_bus_error_has_name(&error, SYSTEMD ".NoSuchUnit"))
		return 0;
	if (r >= 0)
		r = sd_bus_message_read(answer, "o", &object);
	if (r >= 0)
		r = sd_bus_path_decode(object, UNIT_PATH, &ret->name);
	if (r <= 0)
		return r == 0 ? 0 : bus_error(r, &error, "GetUnitByControlGroup", err);
	ret->object = strdup(object);
	if (!ret->object)
		return stow_err_sys(err, ENOMEM, "%s", cgroup);
	if (ends_with(ret->name, ".scope"))
		ret->interface = SYSTEMD ".Scope";
	else if (ends_with(ret->name, ".service"))
		ret->interface = SYSTEMD ".Service";
	return ret->interface != NULL;
}

/* Whether the unit's own cgroup is this one: the path and, where systemd says it (252 and later),
 * the directory's inode. */
static int is_its_own(sd_bus *bus, const struct unit *unit, const char *cgroup, uint64_t inode,
		      struct stow_err *err)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_free_ char *path = NULL;
	uint64_t id = 0;
	int r;

	r = sd_bus_get_property_string(bus, SYSTEMD, unit->object, unit->interface, "ControlGroup",
				       &error, &path);
	if (r < 0)
		return bus_error(r, &error, "ControlGroup", err);
	if (strcmp(path, cgroup) != 0)
		return 0;
	r = sd_bus_get_property_trivial(bus, SYSTEMD, unit->object, unit->interface,
					"ControlGroupId", &error, 't', &id);
	if (r < 0 && sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_PROPERTY))
		return 1;
	if (r < 0)
		return bus_error(r, &error, "ControlGroupId", err);
	return id == inode;
}

/* Whether the property is set, and to another set than this. */
static int is_set_otherwise(sd_bus *bus, const struct unit *unit, const char *property,
			    const struct stow_idset *wanted, struct stow_err *err)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
	struct stow_idset now = { 0 };
	const uint8_t *bytes = NULL;
	const void *array;
	size_t n = 0;
	int r;

	r = sd_bus_get_property(bus, SYSTEMD, unit->object, unit->interface, property, &error,
				&answer, "ay");
	if (r >= 0)
		r = sd_bus_message_read_array(answer, 'y', &array, &n);
	if (r < 0)
		return bus_error(r, &error, property, err);
	bytes = array;
	for (size_t id = 0; id < n * 8 && id < STOW_IDSET_MAX; id++)
		if (bytes[id / 8] & (1U << (id % 8)))
			stow_idset_add(&now, (int)id);
	return !stow_idset_empty(&now) && !stow_idset_equal(&now, wanted);
}

static int set_property(sd_bus *bus, const struct unit *unit, const char *property,
			const struct stow_idset *set, struct stow_err *err)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	uint8_t bytes[STOW_IDSET_MAX / 8];
	size_t n = to_bytes(set, bytes);
	int r;

	r = sd_bus_message_new_method_call(bus, &m, SYSTEMD, "/org/freedesktop/systemd1",
					   SYSTEMD ".Manager", "SetUnitProperties");
	if (r >= 0)
		r = sd_bus_message_append(m, "sb", unit->name, 1 /* runtime */);
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
		r = sd_bus_call(bus, m, TIMEOUT_US, &error, NULL);
	return bus_error(r, &error, unit->name, err);
}

/* 1: set; 0: there is nothing to set. */
static int run(const char *cgroup, uint64_t inode, const char *property,
	       const struct stow_idset *set, struct stow_err *err)
{
	_cleanup_(bus_close_ptr) sd_bus *bus = NULL;
	_cleanup_(unit_done) struct unit unit = { 0 };
	int r;

	r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(bus, TIMEOUT_US);
	if (r < 0)
		return stow_err_sys(err, -r, "the system bus");
	r = find_unit(bus, cgroup, &unit, err);
	if (r > 0)
		r = is_its_own(bus, &unit, cgroup, inode, err);
	if (r > 0)
		r = is_set_otherwise(bus, &unit, property, set, err);
	if (r <= 0)
		return r;
	r = set_property(bus, &unit, property, set, err);
	return r < 0 ? r : 1;
}

int main(int argc, char **argv)
{
	struct stow_idset set;
	struct stow_err err;
	uint64_t inode;
	int r;

	if (argc != 5 ||
	    (strcmp(argv[3], "AllowedCPUs") != 0 && strcmp(argv[3], "AllowedMemoryNodes") != 0)) {
		fprintf(stderr, "usage: numastow-scope CGROUP INODE AllowedCPUs|AllowedMemoryNodes "
				"LIST\n");
		return USAGE;
	}
	if (stow_parse_u64(argv[2], UINT64_MAX, &inode, &err) < 0 ||
	    stow_idset_parse(argv[4], &set, &err) < 0) {
		fprintf(stderr, "numastow-scope: %s\n", err.msg);
		return USAGE;
	}
	r = run(argv[1], inode, argv[3], &set, &err);
	if (r < 0) {
		fprintf(stderr, "numastow-scope: %s of %s: %s\n", argv[3], argv[1], err.msg);
		return FAILED;
	}
	return r ? SET : NOTHING;
}
