/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/health.h - what a call saw that a healthy model does not: NaN, infinities, denormals, far
 * scores, rows without keys, where sinks take the attention, and what storing K and V did to them.
 *
 * gqa_output.health and gqa_attend_output.health ask for the report. It changes no bit of a result,
 * and without it a call costs nothing more. With it attention looks at every score: on backend cpu
 * it takes scores and values one after the other, in up to twice its time (measured with
 * AVX-512), and every number that the report counts is read once more, on the calling thread.
 * Backends cpu and reference.
 *
 * The numbers depend on the inputs, the layer and its numerics, on neither threads, kernel set,
 * pages nor cut. Backend reference has scores of its own, which differ in rounding.
 */
#ifndef GQA_HEALTH_H
#define GQA_HEALTH_H

#include "gqa/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of one tensor, of valid tokens only; bf16 and f16 as the f32 that they stand for (so
 * a denormal f16 is none). All 0 where there is no such tensor. */
typedef struct gqa_health_values {
    int64_t values;   /* all of them; of them */
    int64_t nan;      /* are NaN */
    int64_t inf;      /* are infinite, */
    int64_t denormal; /* or denormal: of size above 0 and below 2^-126 */
} gqa_health_values;

/* What storing did to the K, or V, that the call appended to the cache or wrote into the host's
 * blocks (with neither: that it kept for itself): of valid tokens that were written. The types are
 * those of gqa/cache.h. Where most values vanished, outliers take the scales for themselves. Where
 * many are saturated, rows are flat or were clipped; but of a type with scales the largest element
 * of each scale is saturated in any case. Of rows that are stored rotated `vanished` and
 * `saturated` count what they are rotated to. */
typedef struct gqa_health_stored {
    int64_t values;    /* all of them; of them */
    int64_t lost;      /* are not NaN, but stored as NaN: not all of their scale are finite */
    int64_t vanished;  /* are not 0, but stored as 0: too small for the type or for their scale, or
                          denormal where those count as zero */
    int64_t saturated; /* are stored as the largest code in size, or, of types without scales, as
                          infinite where they are finite */
} gqa_health_stored;

typedef struct gqa_health {
    uint32_t struct_size;

    /* What the caller gave (gqa_attend: see q, k and v). */
    gqa_health_values hidden_states, residual, q_proj, k_proj, v_proj, gate_proj;

    /* The operands of attention: Q as the scores see it, unscaled and not rotated; K and V as they
     * are handed to the cache, so in a call that appends nothing there are none. gqa_attend: the
     * queries, and of keys and values that are plain or in the host's blocks those that exist in
     * the range, of every active batch entry, int8 times its scale. */
    gqa_health_values q, k, v;
    int64_t large_v; /* values of V that are finite and, under numerics bf16 once they are rounded,
                        2^64 or more in size: there numerics bf16 goes its slow way */

    /* What is returned, where it is asked for: hidden_states, and attn (gqa_attend: output). */
    gqa_health_values output, attn;

    /* Scores: of the pairs of a row (a token and query head) and a key that it sees, after softcap,
     * ALiBi and bias, in natural units. */
    int64_t nan_scores;
    double largest_score; /* the largest size, -inf left out; 0 if there is none. The first ... */
    int32_t largest_entry, largest_token; /* ... batch entry, column of the call, ... */
    int32_t largest_head, largest_key;    /* ... query head and key index that has it; -1 */

    /* Rows, over all keys of the call's range and the prior states. */
    int64_t rows;
    int64_t empty_rows; /* saw no key */
    int64_t nan_rows;   /* whose sum is NaN, from a score that is NaN or +inf (or a prior state) */

    /* The sinks' share of the softmax, 1 in a row that saw no key, in rows that have a sink and
     * whose sum and maximum are such as keys can give: not where they are NaN, nor where a prior
     * state made the sum negative or infinite, or the maximum +inf. Not with leave_out_sinks. */
    int64_t sink_rows;
    double sink_mean; /* each row's share to the nearest 2^-32; 0 without rows */
    double sink_largest;

    gqa_health_stored stored_k, stored_v; /* all 0 in a call that appends nothing */
} gqa_health;

GQA_API void gqa_health_init_sized(gqa_health *health, size_t size);

static inline void gqa_health_init(gqa_health *health)
{
    gqa_health_init_sized(health, sizeof *health);
}

#ifdef __cplusplus
}
#endif
#endif
