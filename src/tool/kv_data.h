/* SPDX-License-Identifier: Apache-2.0 */
/* kv_data.h - a case of random numbers in the shape of a model's layer, whose keys have outlier
 * channels.
 *
 * Hidden states and weights are uniform and scaled so that, behind the input norm, every element of
 * q, k and v has variance 1; being sums of thousands of terms they are normal. Some channels of
 * each KV head get a bias in k, 10 to 30 times as large as what the others are, of either sign: the
 * same channels at every token, before the rotary embedding, as trained layers have them. q and v
 * have none.
 */
#ifndef GQA__TOOL_KV_DATA_H
#define GQA__TOOL_KV_DATA_H

#include "tool/case.h"

/* gpt-oss: hidden 2880, 64/8 heads of 64, sinks, YaRN. llama: hidden 4096, 32/8 heads of 128. Both
 * without a window. */
enum tool_kv_shape { TOOL_KV_GPT_OSS, TOOL_KV_LLAMA, TOOL_KV_SHAPES };

extern const char *const tool_kv_shape_names[TOOL_KV_SHAPES];

struct tool_kv_recipe {
    enum tool_kv_shape shape;
    int32_t tokens;
    int32_t outliers; /* channels of each KV head, 0 .. 64 */
    int32_t seed;
};

struct tool_kv_data {
    struct tool_case c; /* points into what follows */
    char name[80];
    float *x;                      /* [T, hidden] */
    float *wq, *wk, *wv, *wo;      /* [out, in] */
    float *bq, *bk, *bv;           /* [out] */
    float *norm, *sinks;           /* [hidden], [Hq] */
    int32_t *positions;            /* [T] */
    uint8_t *valid;                /* [T] */
    struct tool_schedule schedule; /* one call */
};

/* To be freed, also on failure. The case has no file and is not one for tool_case_free. */
bool tool_kv_data_make(struct tool_kv_data *data, const struct tool_kv_recipe *recipe,
                       struct tool_fault *fault);
void tool_kv_data_free(struct tool_kv_data *data);

#endif
