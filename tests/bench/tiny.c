/* SPDX-License-Identifier: Apache-2.0 */
/* What the workload executes over and over: static and empty, so that an exec costs little beside what
 * watching it costs. */
int main(void)
{
	return 0;
}
