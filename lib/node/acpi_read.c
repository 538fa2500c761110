// SPDX-License-Identifier: Apache-2.0
/* Reads ACPI tables from /sys/firmware/acpi/tables. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "base/text.h"
#include "node/acpi.h"
#include "node/acpi_internal.h"

#define TABLES "/sys/firmware/acpi/tables"

const char *stow_acpi_state_name(enum stow_acpi_state state)
{
	static const char *const names[] = { "absent", "hidden", "broken", "read" };

	return names[state];
}

/* Copy the names of the OEM and of its table, without the blanks behind them. */
static void take_header(const uint8_t *data, struct stow_acpi_table *table)
{
	char oem[7] = "", id[9] = "";

	table->revision = data[8];
	table->length = stow_acpi_u32(data + 4);
	memcpy(oem, data + 10, 6);
	memcpy(id, data + 16, 8);
	snprintf(table->oem, sizeof(table->oem), "%.*s %.*s", (int)strcspn(oem, " "), oem,
		 (int)strcspn(id, " "), id);
	stow_text_ascii(table->oem);
}

/* Read a table that may have a zero byte or a newline anywhere. NULL: `table` says why. */
static uint8_t *read_bytes(struct stow_root *root, const char *path, struct stow_acpi_table *table,
			   size_t *ret_len)
{
	_cleanup_close_ int fd = stow_root_openat(root, O_RDONLY, 0, &table->why, "%s", path);
	char *data = NULL;
	int r = fd;

	if (r >= 0)
		r = stow_read_all(fd, STOW_ROOT_READ_MAX, path, &data, ret_len, &table->why);
	if (r == -ENOENT || r == -ENOTDIR)
		table->state = STOW_ACPI_ABSENT;
	else if (r == -EACCES || r == -EPERM)
		table->state = STOW_ACPI_HIDDEN;
	else if (r < 0)
		table->state = STOW_ACPI_BROKEN;
	return (uint8_t *)data;
}

/* Set the state that a parser's result means. */
static int parsed(int r, const uint8_t *data, size_t len, struct stow_acpi_table *table,
		  struct stow_err *err)
{
	if (r == -ENOMEM)
		return stow_err_move(err, r, &table->why);
	table->state = r < 0 ? STOW_ACPI_BROKEN : STOW_ACPI_READ;
	if (r == 0) {
		take_header(data, table);
		table->bad_checksum = !stow_acpi_checksum(data, len);
	}
	return 0;
}

int stow_acpi_read(struct stow_root *root, struct stow_acpi *ret, struct stow_err *err)
{
	struct stow_acpi acpi = { 0 };
	int r = 0;

	acpi.present = stow_root_exists(root, TABLES) > 0;
	for (int i = 0; r == 0 && i < 3; i++) {
		struct stow_acpi_table *table = i == 0	 ? &acpi.srat_table
						: i == 1 ? &acpi.slit_table
							 : &acpi.hmat_table;
		static const char *const paths[] = { TABLES "/SRAT", TABLES "/SLIT",
						     TABLES "/HMAT" };
		_cleanup_free_ uint8_t *data = NULL;
		size_t len;

		data = read_bytes(root, paths[i], table, &len);
		if (!data)
			continue;
		if (i == 0)
			r = stow_srat_parse(data, len, &acpi.srat, &table->why);
		else if (i == 1)
			r = stow_slit_parse(data, len, &acpi.slit, &table->why);
		else
			r = stow_hmat_parse(data, len, &acpi.hmat, &table->why);
		r = parsed(r, data, len, table, err);
	}
	if (r < 0)
		stow_acpi_done(&acpi);
	else
		*ret = acpi;
	return r;
}

void stow_acpi_done(struct stow_acpi *acpi)
{
	stow_srat_done(&acpi->srat);
	stow_slit_done(&acpi->slit);
	stow_hmat_done(&acpi->hmat);
	*acpi = (struct stow_acpi){ 0 };
}
