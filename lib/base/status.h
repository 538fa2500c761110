/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The status codes of gRPC (grpc/status.h), in which the end of a drain is reported, too. */

enum stow_status {
	STOW_STATUS_OK,
	STOW_STATUS_CANCELLED,
	STOW_STATUS_UNKNOWN,
	STOW_STATUS_INVALID_ARGUMENT,
	STOW_STATUS_DEADLINE_EXCEEDED,
	STOW_STATUS_NOT_FOUND,
	STOW_STATUS_ALREADY_EXISTS,
	STOW_STATUS_PERMISSION_DENIED,
	STOW_STATUS_RESOURCE_EXHAUSTED,
	STOW_STATUS_FAILED_PRECONDITION,
	STOW_STATUS_ABORTED,
	STOW_STATUS_OUT_OF_RANGE,
	STOW_STATUS_UNIMPLEMENTED,
	STOW_STATUS_INTERNAL,
	STOW_STATUS_UNAVAILABLE,
	STOW_STATUS_DATA_LOSS,
	STOW_STATUS_UNAUTHENTICATED,
};

/* Convert a positive errno to a status, and a status to an errno. Codes and errnos outside of the
 * table become UNKNOWN and EIO. */
unsigned int stow_status_of_errno(int errnum);
int stow_errno_of_status(unsigned int status);
/* Return the name, such as "RESOURCE_EXHAUSTED". */
const char *stow_status_name(unsigned int status);
