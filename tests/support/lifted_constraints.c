/* SPDX-License-Identifier: Apache-2.0 */
/* lifted_constraints.c - calls one after the other, shared by the triggers of the lifted
 * constraints. */
#include "support/lifted_constraints.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <string.h>

#include <cmocka.h>

/* A call that must succeed; returns out + its size, for the next call. */
float *lifted_run(struct small_layer *small, const gqa_inputs *in, int b, int t, const float *x,
                  float *out)
{
    if (small_layer_forward(small, small->cache, in, b, t, x, out) != GQA_OK) {
        fail_msg("gqa_forward: %s", small->err.message);
    }
    return out + b * t * WIDTH;
}

void lifted_same(const float *a, const float *b, int tokens)
{
    assert_memory_equal(a, b, (size_t)(tokens * WIDTH) * sizeof *a);
}

bool lifted_differs(const float *a, const float *b, int tokens)
{
    return memcmp(a, b, (size_t)(tokens * WIDTH) * sizeof *a) != 0;
}

/* Equal but for the order of sums: a few hundred products of size 1 in f32. */
void lifted_close(const float *a, const float *b, int tokens)
{
    for (int i = 0; i < tokens * WIDTH; i++) {
        assert_true(fabsf(a[i] - b[i]) <= 2e-5f * (1.0f + fabsf(b[i])));
    }
}

/* T tokens on a fresh small with this config. */
void lifted_whole(void (*edit)(gqa_config *), const gqa_inputs *in, float *out)
{
    struct small_layer small;
    small_layer_open(&small, edit);
    lifted_run(&small, in, 1, T, small.x, out);
    small_layer_close(&small);
}

/* The same T tokens in pieces that end at the given token counts. */
void lifted_pieces(void (*edit)(gqa_config *), const int *ends, int n, float *out)
{
    struct small_layer small;
    int done = 0;
    small_layer_open(&small, edit);
    for (int i = 0; i < n; i++) {
        out = lifted_run(&small, NULL, 1, ends[i] - done, small.x + done * WIDTH, out);
        done = ends[i];
    }
    small_layer_close(&small);
}

void with_window(gqa_config *config)
{
    config->sliding_window = 5;
}

void with_chunk(gqa_config *config)
{
    config->attention_chunk_size = 4;
}
