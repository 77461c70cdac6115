/* SPDX-License-Identifier: Apache-2.0 */
/* fewer_cases.h - fewer cases for slow machines: valgrind, emulators.
 *
 * GQA_TEST_BRIEF=N makes a program that asks here run one of N random cases of each kind.
 */
#ifndef TEST_FEWER_CASES_H
#define TEST_FEWER_CASES_H

/* How many of n cases to run: n, or with GQA_TEST_BRIEF=N n / N rounded up; says so once. */
int fewer_cases(int n);

#endif
