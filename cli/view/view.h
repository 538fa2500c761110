/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The commands of numastow-view, one cmd_*.c each: what they show is printed through output.h and
 * table.h. numastow(1) executes this program; it is linked dynamically, which numastow is not. */

/* argv[0] is the command's name; return the exit code. */
int cmd_show(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_zones(int argc, char **argv);
int cmd_measure(int argc, char **argv);
int cmd_hugepages(int argc, char **argv);
int cmd_settings(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_config(int argc, char **argv);
/* Of numastow-top (cli/top). */
int cmd_top(int argc, char **argv);
