/* SPDX-License-Identifier: Apache-2.0 */
/* test_gaps.c - gqa_merge_states over ranges that leave out blocks which no row sees: the bits of
 * one walk over all keys, because a block without visible keys is neutral wherever it stands in the
 * tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gqa/gqa.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { T = 3, HQ = 4, HKV = 2, D = 24, BLOCKS = 11, KEYS = BLOCKS * 256 - 100, ROWS = T * HQ };

/* Every tensor of a call. */
struct data {
    float q[ROWS * D], k[KEYS * HKV * D], v[KEYS * HKV * D];
    uint8_t mask[T * KEYS];
};

struct states {
    float m[ROWS], l[ROWS], o[ROWS * D];
    gqa_states view;
};

static void fill(float *x, int n, uint64_t seed)
{
    random_floats(&seed, x, n, 2.0f);
}

static void view_states(struct states *s)
{
    s->view.m = gqa_tensor_3d(s->m, GQA_F32, 1, T, HQ);
    s->view.l = gqa_tensor_3d(s->l, GQA_F32, 1, T, HQ);
    s->view.o = gqa_tensor_4d(s->o, GQA_F32, 1, T, HQ, D);
}

/* States of keys [begin, end) (end 0: all). */
static void attend(const gqa_layer *layer, const struct data *d, int begin, int end,
                   struct states *to)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_error err;

    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_3d(d->q, GQA_F32, T, HQ, D);
    in.key = gqa_tensor_3d(d->k, GQA_F32, KEYS, HKV, D);
    in.value = gqa_tensor_3d(d->v, GQA_F32, KEYS, HKV, D);
    in.mask = gqa_tensor_4d(d->mask, GQA_U8, 1, 1, T, KEYS);
    in.range_begin = begin;
    in.range_end = end;
    view_states(to);
    out.states = to->view;
    if (gqa_attend(layer, NULL, &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    to->view = out.states;
}

/* Bit b of kept: block b is visible. The visible blocks one by one, the others left out. */
static void check_gaps(const gqa_layer *layer, struct data *d, unsigned kept)
{
    static struct states part[BLOCKS], all, merged;
    const gqa_states *list[BLOCKS];
    int n = 0;

    for (int key = 0; key < KEYS; key++) {
        for (int t = 0; t < T; t++) {
            d->mask[t * KEYS + key] = (kept >> key / 256 & 1u) != 0;
        }
    }
    for (int b = 0; b < BLOCKS; b++) {
        if ((kept >> b & 1u) != 0) {
            attend(layer, d, b * 256, (b + 1) * 256, &part[n]);
            list[n] = &part[n].view;
            n++;
        }
    }
    attend(layer, d, 0, 0, &all);
    view_states(&merged);
    assert_int_equal(gqa_merge_states(list, n, &merged.view, NULL), GQA_OK);
    if (memcmp(merged.m, all.m, sizeof all.m) != 0 || memcmp(merged.l, all.l, sizeof all.l) != 0 ||
        memcmp(merged.o, all.o, sizeof all.o) != 0) {
        fail_msg("visible blocks 0x%x", kept);
    }
}

static void gaps_are_neutral(void **state)
{
    static struct data d;
    gqa_config config;
    gqa_layer *layer;

    (void)state;
    fill(d.q, ROWS * D, 1);
    fill(d.k, KEYS * HKV * D, 2);
    fill(d.v, KEYS * HKV * D, 3);
    config = attention_config(HQ, HKV, D, 0);
    layer = attention_layer(&config, NULL);
    for (unsigned kept = 1; kept < 1u << BLOCKS; kept += kept < 64 ? 1 : 37) {
        check_gaps(layer, &d, kept);
    }
    gqa_destroy(&layer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gaps_are_neutral)};
    return RUN_TESTS(argc, argv, tests);
}
