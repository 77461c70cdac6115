/* SPDX-License-Identifier: Apache-2.0 */
/* rope_cases.h - a layer of every rope scaling, and what its frequencies must be. */
#ifndef TEST_ROPE_CASES_H
#define TEST_ROPE_CASES_H

#include <stdbool.h>

#include "gqa/gqa.h"

enum { ROPE_CASES = 21, ROPE_MOST = 256 };

/* Indices of cases that tests name. */
enum { ROPE_DYNAMIC = 7, ROPE_LONG = 8, ROPE_GPT_OSS = 13 };

/* What the frequency of index j must be for a call of this length. */
typedef long double (*rope_formula)(const gqa_config *c, int32_t j, int32_t length);

struct rope_case {
    const char *name;
    gqa_config config;
    rope_formula formula;
    double attention_factor;
    bool ramp; /* the formula has a linear ramp: see tolerance() */
};

/* 4 query heads, 2 KV heads, rope HALF, attention only. */
gqa_config rope_base_config(int32_t head_dim);
int32_t rope_pairs_of(const gqa_config *config);

/* The cases; their tables are static and shared. */
void rope_cases(struct rope_case *cases);

#endif
