/* SPDX-License-Identifier: Apache-2.0 */
/* test_score_scale.c - a negative score_scale is a multiplier like any other: the bits are those of
 * the positive one on queries of the other sign. The oracle sees negative ones in
 * test_differential. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { T = 37, K = 300, Q_ALL = T * SMALL_HQ * SMALL_DK, OUT_ALL = T * SMALL_HQ * SMALL_DV };

static float query[Q_ALL], key[K * SMALL_HKV * SMALL_DK], value[K * SMALL_HKV * SMALL_DV];

/* False if this machine or the numerics do not have the kernel set. */
static bool attend(const gqa_config *config, float *out, float *lse)
{
    gqa_layer *layer = NULL;
    gqa_attend_inputs in;
    gqa_attend_output o;
    gqa_error err;
    const gqa_status status = gqa_create(&layer, config, NULL, NULL, &err);
    if (status == GQA_ERR_UNSUPPORTED) {
        return false;
    }
    if (status != GQA_OK) {
        fail_msg("%s", err.message);
    }
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&o);
    in.query = gqa_tensor_4d(query, GQA_F32, 1, T, SMALL_HQ, SMALL_DK);
    in.key = gqa_tensor_4d(key, GQA_F32, 1, K, SMALL_HKV, SMALL_DK);
    in.value = gqa_tensor_4d(value, GQA_F32, 1, K, SMALL_HKV, SMALL_DV);
    o.output = gqa_tensor_4d(out, GQA_F32, 1, T, SMALL_HQ, SMALL_DV);
    o.lse = gqa_tensor_3d(lse, GQA_F32, 1, T, SMALL_HQ);
    assert_int_equal(gqa_attend(layer, NULL, &in, &o, NULL, 0, &err), GQA_OK);
    gqa_destroy(&layer);
    return true;
}

static void same_bits(const gqa_config *config)
{
    static float out[2][OUT_ALL], lse[2][T * SMALL_HQ], usual[OUT_ALL];
    gqa_config own = *config;
    own.score_scale = 0.31f;
    if (!attend(&own, usual, lse[0])) {
        return;
    }
    own.score_scale = -0.31f;
    assert_true(attend(&own, out[0], lse[0]));
    own.score_scale = 0.31f;
    for (int i = 0; i < Q_ALL; i++) {
        query[i] = -query[i];
    }
    assert_true(attend(&own, out[1], lse[1]));
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    assert_memory_equal(lse[0], lse[1], sizeof lse[0]);
    assert_memory_not_equal(out[0], usual, sizeof usual);
}

static void negative_scales(void **state)
{
    uint64_t seed = 5;
    (void)state;
    random_floats(&seed, query, Q_ALL, 3.0f);
    random_floats(&seed, key, K * SMALL_HKV * SMALL_DK, 3.0f);
    random_floats(&seed, value, K * SMALL_HKV * SMALL_DV, 1.0f);
    for (int isa = GQA_ISA_SCALAR; isa <= (int)GQA_ISA_NEON; isa++) {
        for (int kind = 0; kind < 6; kind++) { /* f32, bf16, reference; without softcap and with */
            gqa_config config;
            config = attention_config(SMALL_HQ, SMALL_HKV, SMALL_DK, SMALL_DV);
            config.isa = (gqa_isa)isa;
            config.numerics = kind % 3 == 1 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
            config.backend = kind % 3 == 2 ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU;
            config.softcap = kind >= 3 ? 4.0f : 0.0f;
            same_bits(&config);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(negative_scales)};
    return RUN_TESTS(argc, argv, tests);
}
