/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sentences with a label before them, fitted to the terminal: for commands that print no table. */

/* Print "  LABEL  TEXT", with the text from column `indent` on, wrapped between words. */
void cli_paragraph(int indent, const char *label, const char *text);
/* The same with the label at the start of the line; it is narrower than `indent`. */
void cli_sentence(int indent, const char *label, const char *text);
