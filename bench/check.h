/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - does a baseline compute what libgqa computes? Its data are libgqa's numbers, so that
 * the results can be compared. */
#ifndef GQA_BENCH_CHECK_H
#define GQA_BENCH_CHECK_H

#include "work.h"

/* Of the results that the work's last call left, the root of the mean squared difference from what
 * libgqa gives in f32 for the same case, in that of what it gives, goes into work->error; where the
 * case has hidden states, of what attention adds to them. false if it is more than `most`: why says
 * so. Cases of more than 2e11 operations are not looked at: the error stays 0. */
bool bench_check(struct bench_work *work, const struct bench_spec *spec, double most,
                 struct bench_host *host, char why[BENCH_WHY_TEXT]);

#endif
