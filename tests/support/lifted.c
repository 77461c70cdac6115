/* SPDX-License-Identifier: Apache-2.0 */
/* lifted.c - calls in a row, shared by the triggers of the lifted constraints. */
#include "support/lifted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <string.h>

#include <cmocka.h>

/* A call that must succeed; returns out + its size, for calls in a row. */
float *lifted_run(struct rig *rig, const gqa_inputs *in, int b, int t, const float *x, float *out)
{
    if (rig_forward(rig, rig->cache, in, b, t, x, out) != GQA_OK) {
        fail_msg("gqa_forward: %s", rig->err.message);
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

/* T tokens on a fresh rig with this config. */
void lifted_whole(void (*edit)(gqa_config *), const gqa_inputs *in, float *out)
{
    struct rig rig;
    rig_open(&rig, edit);
    lifted_run(&rig, in, 1, T, rig.x, out);
    rig_close(&rig);
}

/* The same T tokens in pieces that end at the given token counts. */
void lifted_pieces(void (*edit)(gqa_config *), const int *ends, int n, float *out)
{
    struct rig rig;
    int done = 0;
    rig_open(&rig, edit);
    for (int i = 0; i < n; i++) {
        out = lifted_run(&rig, NULL, 1, ends[i] - done, rig.x + done * WIDTH, out);
        done = ends[i];
    }
    rig_close(&rig);
}

void with_window(gqa_config *config)
{
    config->sliding_window = 5;
}

void with_chunk(gqa_config *config)
{
    config->attention_chunk_size = 4;
}
