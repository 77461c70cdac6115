/* SPDX-License-Identifier: Apache-2.0 */
/* test_health_values.c - the health report (gqa_output.health) of a layer: planted NaN, infinities,
 * denormals and large values are counted in the tensors where they are, padding left out, and no
 * bit of a result changes. Counts by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { HQ = 6, HKV = 2, DK = 24, DV = 9 };

static void normed(gqa_config *config)
{
    config->input_norm = GQA_NORM_RMS;
    config->add_residual = 1;
    config->gate = GQA_GATE_HEAD;
}

static void expect_values(const gqa_health_values *count, int64_t values, int64_t nan, int64_t inf,
                          int64_t denormal)
{
    assert_int_equal(count->values, values);
    assert_int_equal(count->nan, nan);
    assert_int_equal(count->inf, inf);
    assert_int_equal(count->denormal, denormal);
}

/* From hidden states, two entries with padding that is NaN: only valid tokens count. The result
 * lies on hidden_states: they are counted before. */
static void planted_in_hidden_states(void **state)
{
    enum { H = SMALL_HIDDEN, N = 7 };
    static const int32_t first[2] = {2, 0}, lengths[2] = {4, 6};
    static struct small_layer small;
    static float x[2][N][H], again[2][N][H];
    gqa_inputs in;
    gqa_output out;
    gqa_health health;
    (void)state;
    small_layer_open(&small, normed);
    for (int i = 0; i < 2 * N * H; i++) {
        const int t = i / H % N, b = i / H / N;
        (&x[0][0][0])[i] = t < first[b] || t >= first[b] + lengths[b] ? NAN : small.x[i] + 0.125f;
    }
    x[0][3][5] = NAN;
    x[1][0][1] = -INFINITY;
    x[1][1][2] = 0x1p-140f;
    x[1][1][3] = -0x1p-149f;
    x[1][1][4] = -0.0f;
    memcpy(again, x, sizeof x);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_health_init(&health);
    in.hidden_states = gqa_tensor_3d(x, GQA_F32, 2, N, H);
    in.residual = gqa_tensor_3d(x, GQA_F32, 2, N, H);
    in.first_valid = first;
    in.lengths = lengths;
    out.hidden_states = gqa_tensor_3d(x, GQA_F32, 2, N, H);
    out.health = &health;
    assert_int_equal(gqa_forward(small.layer, NULL, &in, &out, NULL, 0, &small.err), GQA_OK);
    expect_values(&health.hidden_states, 10 * H, 1, 1, 2);
    expect_values(&health.residual, 10 * H, 1, 1, 2);
    assert_int_equal(health.q_proj.values + health.attn.values, 0);
    /* RMS norm makes all of a token NaN: of one of the four in entry 0; those that follow it see
     * it. An infinite value makes NaN, too: of the first of entry 1, which all others see. */
    expect_values(&health.q, 10 * SMALL_HQ * SMALL_DK, 2 * SMALL_HQ * SMALL_DK, 0, 0);
    expect_values(&health.k, 10 * SMALL_HKV * SMALL_DK, 2 * SMALL_HKV * SMALL_DK, 0, 0);
    expect_values(&health.v, 10 * SMALL_HKV * SMALL_DV, 2 * SMALL_HKV * SMALL_DV, 0, 0);
    assert_int_equal(health.rows, 10 * SMALL_HQ);
    assert_int_equal(health.nan_rows, (3 + 6) * SMALL_HQ);
    expect_values(&health.output, 10 * H, (3 + 6) * H, 0, 0);
    for (int i = 0; i < 2 * N * H; i++) { /* ... as the bits are without a report */
        assert_true(isnan((&x[0][0][0])[i]) || fabsf((&x[0][0][0])[i]) < 1e6f);
    }
    in.hidden_states.data = in.residual.data = out.hidden_states.data = again;
    out.health = NULL;
    assert_int_equal(gqa_forward(small.layer, NULL, &in, &out, NULL, 0, &small.err), GQA_OK);
    assert_memory_equal(x, again, sizeof x);
    small_layer_close(&small);
}

/* From projections in each format, in blocks of tokens and a flat call; values of 2^64 in V. */
static void planted_in_projections(void **state)
{
    enum { N = 300 };
    static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};
    static const int32_t row_begin[4] = {0, 1, 1, N};
    static float q[N][HQ][DK], k[N][HKV][DK], v[N][HKV][DV];
    static uint16_t q16[N * HQ * DK], k16[N * HKV * DK], v16[N * HKV * DV];
    static float attn[N][HQ][DV], plain[N][HQ][DV];
    uint64_t random = 9;
    (void)state;
    for (int format = 0; format < 3; format++) {
        gqa_config config = attention_config(HQ, HKV, DK, DV);
        gqa_layer *layer = attention_layer(&config, NULL);
        const bool narrow = formats[format] == GQA_F16;
        gqa_inputs in;
        gqa_output out;
        gqa_health health;
        random_floats(&random, &q[0][0][0], N * HQ * DK, 1.0f);
        random_floats(&random, &k[0][0][0], N * HKV * DK, 1.0f);
        random_floats(&random, &v[0][0][0], N * HKV * DV, 1.0f);
        q[0][0][0] = narrow ? 0x1p-20f : 0x1p-130f; /* a denormal f16 is a normal f32 */
        q[N - 1][HQ - 1][DK - 1] = NAN;
        k[200][1][3] = -INFINITY;
        v[7][0][0] = narrow ? 3.0f : 0x1p64f;
        v[8][0][0] = narrow ? 3.0f : -0x1.fep63f; /* not that large */
        v[9][1][8] = narrow ? 3.0f : 3e38f;
        v[299][1][8] = INFINITY;
        gqa_inputs_init(&in);
        gqa_output_init(&out);
        gqa_health_init(&health);
        in.q_proj = gqa_tensor_4d(q, GQA_F32, 1, N, HQ, DK);
        in.k_proj = gqa_tensor_4d(k, GQA_F32, 1, N, HKV, DK);
        in.v_proj = gqa_tensor_4d(v, GQA_F32, 1, N, HKV, DV);
        if (format > 0) {
            const gqa_tensor to_q = gqa_tensor_4d(q16, formats[format], 1, N, HQ, DK);
            const gqa_tensor to_k = gqa_tensor_4d(k16, formats[format], 1, N, HKV, DK);
            const gqa_tensor to_v = gqa_tensor_4d(v16, formats[format], 1, N, HKV, DV);
            assert_int_equal(gqa_convert(&in.q_proj, &to_q, NULL), GQA_OK);
            assert_int_equal(gqa_convert(&in.k_proj, &to_k, NULL), GQA_OK);
            assert_int_equal(gqa_convert(&in.v_proj, &to_v, NULL), GQA_OK);
            in.q_proj = to_q;
            in.k_proj = to_k;
            in.v_proj = to_v;
        }
        in.row_begin = row_begin;
        in.batch = 3;
        out.attn = gqa_tensor_4d(attn, GQA_F32, 1, N, HQ, DV);
        out.health = &health;
        assert_int_equal(gqa_forward(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
        out.attn.data = plain;
        out.health = NULL;
        assert_int_equal(gqa_forward(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
        assert_memory_equal(attn, plain, sizeof attn);
        gqa_destroy(&layer);
        expect_values(&health.q_proj, N * HQ * DK, 1, 0, narrow ? 0 : 1);
        expect_values(&health.k_proj, N * HKV * DK, 0, 1, 0);
        expect_values(&health.v_proj, N * HKV * DV, 0, 1, 0);
        assert_memory_equal(&health.q, &health.q_proj, sizeof health.q);
        assert_memory_equal(&health.k, &health.k_proj, sizeof health.k);
        assert_memory_equal(&health.v, &health.v_proj, sizeof health.v);
        assert_int_equal(health.large_v, narrow ? 0 : 2);
        assert_int_equal(health.hidden_states.values + health.output.values, 0);
        assert_int_equal(health.rows, N * HQ);
        assert_int_equal(health.sink_rows, 0);
    }
}

/* gqa_attend reads queries of every format where they lie. */
static void queries_where_they_lie(void **state)
{
    enum { N = 3 };
    static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};
    static float q[N][HQ][DK], k[N][HKV][DK], v[N][HKV][DV], attn[N][HQ][DV];
    static uint16_t q16[N * HQ * DK];
    uint64_t random = 4;
    (void)state;
    for (int format = 0; format < 3; format++) {
        for (int numerics = 0; numerics < 2; numerics++) {
            gqa_config config = attention_config(HQ, HKV, DK, DV);
            gqa_attend_inputs in;
            gqa_attend_output out;
            gqa_health health;
            config.numerics = (gqa_numerics)numerics;
            config.isa = GQA_ISA_SCALAR;
            gqa_layer *layer = attention_layer(&config, NULL);
            random_floats(&random, &q[0][0][0], N * HQ * DK, 1.0f);
            random_floats(&random, &k[0][0][0], N * HKV * DK, 1.0f);
            random_floats(&random, &v[0][0][0], N * HKV * DV, 1.0f);
            q[0][0][1] = q[1][2][3] = NAN;
            q[N - 1][HQ - 1][DK - 1] = -INFINITY;
            gqa_attend_inputs_init(&in);
            gqa_attend_output_init(&out);
            gqa_health_init(&health);
            in.query = gqa_tensor_4d(q, GQA_F32, 1, N, HQ, DK);
            in.key = gqa_tensor_4d(k, GQA_F32, 1, N, HKV, DK);
            in.value = gqa_tensor_4d(v, GQA_F32, 1, N, HKV, DV);
            if (format > 0) {
                const gqa_tensor to = gqa_tensor_4d(q16, formats[format], 1, N, HQ, DK);
                assert_int_equal(gqa_convert(&in.query, &to, NULL), GQA_OK);
                in.query = to;
            }
            out.output = gqa_tensor_4d(attn, GQA_F32, 1, N, HQ, DV);
            out.health = &health;
            assert_int_equal(gqa_attend(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
            expect_values(&health.q, N * HQ * DK, 2, 1, 0);
            gqa_destroy(&layer);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_in_hidden_states),
        cmocka_unit_test(planted_in_projections),
        cmocka_unit_test(queries_where_they_lie),
    };
    return RUN_TESTS(argc, argv, tests);
}
