// SPDX-License-Identifier: Apache-2.0
/* A program that does nothing, to measure the cost of starting one. */

int main(void)
{
	return 0;
}
