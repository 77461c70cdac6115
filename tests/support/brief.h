/* SPDX-License-Identifier: Apache-2.0 */
/* brief.h - fewer cases for slow machines: valgrind, emulators.
 *
 * GQA_TEST_BRIEF=N makes a program that asks here run one of N random cases of each kind.
 */
#ifndef TEST_BRIEF_H
#define TEST_BRIEF_H

/* How many of n cases to run: n, or with GQA_TEST_BRIEF=N n / N rounded up; says so once. */
int brief(int n);

#endif
