// SPDX-License-Identifier: Apache-2.0
/*
 * numastow-scope PROPERTY {CGROUP INODE LIST}...: sets AllowedCPUs= or AllowedMemoryNodes= of the
 * running units that have exactly these cgroups, until the unit ends or the machine reboots
 * (org.freedesktop.systemd1(5)). Started by the hook and by numastow, not by users.
 *
 * systemd is asked for the unit of a cgroup, because a cgroup's name proves nothing: a container
 * that may create cgroups can give them the name of another container's unit. For a cgroup without
 * a unit systemd returns the nearest unit above. Therefore path and inode of the unit's cgroup are
 * compared.
 *
 * An empty property stays empty: then systemd does not write the file, and the caller's own write
 * remains.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/idset.h"
#include "base/parse.h"

#define SYSTEMD	  "org.freedesktop.systemd1"
#define UNIT_PATH "/org/freedesktop/systemd1/unit"
/* For each answer. systemd handles one call after the other: while fifty containers start at once
 * on a busy machine, an answer takes seconds. The caller has a limit for all of them together
 * (lib/grant/enforce.c). */
#define TIMEOUT_US (12 * UINT64_C(1000000))

/* Exit codes. NOTHING: systemd does not set the property of any of the units. */
enum { SET = 0, FAILED = 1, USAGE = 2, NOTHING = 3 };

/* The unit's D-Bus object, and the interface with the properties of its type. */
struct unit {
	char *object, *name;
	const char *interface;
};

static void unit_done(struct unit *unit)
{
	free(unit->object);
	free(unit->name);
}

/* Return a D-Bus error as -errno, with its message. */
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

/* Find the unit of a cgroup. Return 1; or 0 when there is none, or one of a type that
 * containers do not use. */
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

/* Return whether this is the unit's own cgroup: compare the path and, since systemd 252, the
 * directory's inode. */
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

/* Return whether the property is set to a different set. */
static int is_set_otherwise(sd_bus *bus, const struct unit *unit, const char *property,
			    const struct stow_idset *wanted, struct stow_err *err)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
	struct stow_idset now;
	const void *bytes;
	size_t n = 0;
	int r;

	r = sd_bus_get_property(bus, SYSTEMD, unit->object, unit->interface, property, &error,
				&answer, "ay");
	if (r >= 0)
		r = sd_bus_message_read_array(answer, 'y', &bytes, &n);
	if (r < 0)
		return bus_error(r, &error, property, err);
	stow_idset_from_bytes(bytes, n, &now);
	return !stow_idset_empty(&now) && !stow_idset_equal(&now, wanted);
}

static int set_property(sd_bus *bus, const struct unit *unit, const char *property,
			const struct stow_idset *set, struct stow_err *err)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	uint8_t bytes[STOW_IDSET_MAX / 8];
	size_t n = stow_idset_to_bytes(set, bytes);
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

/* Set the property of one unit. Return 1 when it was set; 0: there was nothing to set. */
static int run(sd_bus *bus, const char *cgroup, uint64_t inode, const char *property,
	       const struct stow_idset *set, struct stow_err *err)
{
	_cleanup_(unit_done) struct unit unit = { 0 };
	int r;

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

static int open_bus(sd_bus **ret, struct stow_err *err)
{
	int r = sd_bus_open_system(ret);

	if (r >= 0)
		r = sd_bus_set_method_call_timeout(*ret, TIMEOUT_US);
	return r < 0 ? stow_err_sys(err, -r, "the system bus") : 0;
}

/* Handle CGROUP INODE LIST of one unit. After a failure the remaining units are still handled. */
static int run_one(sd_bus *bus, const char *property, char **argv, struct stow_err *err)
{
	struct stow_idset set;
	uint64_t inode;

	if (stow_parse_u64(argv[1], UINT64_MAX, &inode, err) < 0 ||
	    stow_idset_parse(argv[2], &set, err) < 0)
		return -EINVAL;
	return run(bus, argv[0], inode, property, &set, err);
}

int main(int argc, char **argv)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	struct stow_err err;
	int result = NOTHING, r;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("numastow-scope %s\nlibsystemd\n", STOW_VERSION) < 0;
	if (argc < 5 || argc % 3 != 2 ||
	    (strcmp(argv[1], "AllowedCPUs") != 0 && strcmp(argv[1], "AllowedMemoryNodes") != 0)) {
		fprintf(stderr, "usage: numastow-scope AllowedCPUs|AllowedMemoryNodes "
				"{CGROUP INODE LIST}...\n");
		return USAGE;
	}
	r = open_bus(&bus, &err);
	if (r < 0) {
		fprintf(stderr, "numastow-scope: %s\n", err.msg);
		return FAILED;
	}
	for (int i = 2; i < argc; i += 3) {
		r = run_one(bus, argv[1], argv + i, &err);
		if (r < 0) {
			fprintf(stderr, "numastow-scope: %s of %s: %s\n", argv[1], argv[i],
				err.msg);
			result = FAILED;
		} else if (r > 0 && result == NOTHING) {
			result = SET;
		}
	}
	return result;
}
