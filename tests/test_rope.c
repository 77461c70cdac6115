/* SPDX-License-Identifier: Apache-2.0 */
/* Rope: frequencies of every scaling against long double formulas, tables against MPFR, the
 * rotation against double, and the key of the tables. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <mpfr.h>

#include "gqa/gqa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/rope_cases.h"
#include "support/small_layer.h"

/* Relative. With v = 2^-53: the exponent 2j/d is rounded (its error is carried to f as |ln f| v),
 * a grown base has at most 8 v, the power 4 v, and at most 4 products and quotients follow, twice
 * for safety. A ramp is a difference of numbers up to 128 (each good to 8 v), over a range of at
 * least 1, and weighs up to the factor, 32: 128 * 8 * 32 v = 4e-12 at the very worst; all cases
 * here have ranges and starts that leave it below 1e-13. */
static long double tolerance(const struct rope_case *c, long double f)
{
    return c->ramp ? 1e-13L : (fabsl(f > 0 ? logl(f) : 0) + 16) * 0x1p-52L;
}

static void frequencies(void **state)
{
    static const int32_t lengths[] = {0, 1, 99, 100, 101, 4096, 4097, 131072, INT32_MAX};
    static struct rope_case cases[ROPE_CASES];
    (void)state;
    rope_cases(cases);
    for (int i = 0; i < ROPE_CASES; i++) {
        const struct rope_case *const c = &cases[i];
        gqa_layer *layer = attention_layer(&c->config, NULL);
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
            const int32_t length = lengths[k] > 0 ? lengths[k] : 1;
            double out[ROPE_MOST], factor = 0.0;
            assert_int_equal(gqa_rope_frequencies(layer, lengths[k], out, &factor, NULL), GQA_OK);
            for (int32_t j = 0; j < rope_pairs_of(&c->config); j++) {
                const long double f = c->formula(&c->config, j, length);
                if (!(fabsl(out[j] - f) <= tolerance(c, f) * f)) {
                    fail_msg("%s, length %d: frequency %d is %.17g, not %.17Lg", c->name,
                             (int)length, (int)j, out[j], f);
                }
            }
            if (!(fabs(factor - c->attention_factor) <= 1e-15)) {
                fail_msg("%s: attention factor %.17g, not %.17g", c->name, factor,
                         c->attention_factor);
            }
        }
        gqa_destroy(&layer);
    }
}

/* Numbers computed elsewhere, for gpt-oss; 9 digits are given. */
static void frequencies_of_gpt_oss(void **state)
{
    static const struct {
        int32_t j;
        double f;
    } known[] = {{0, 1},
                 {8, 0.0508132748},
                 {9, 0.0317056962},
                 {12, 0.00679495949},
                 {17, 1.29318701e-4},
                 {18, 3.83088124e-5},
                 {31, 3.02351143e-7}};
    static struct rope_case cases[ROPE_CASES];
    double out[ROPE_MOST], factor;
    (void)state;
    rope_cases(cases);
    gqa_layer *layer = attention_layer(&cases[ROPE_GPT_OSS].config, NULL);
    assert_int_equal(gqa_rope_frequencies(layer, 0, out, &factor, NULL), GQA_OK);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_true(fabs(out[known[i].j] - known[i].f) <= 6e-9 * known[i].f);
    }
    assert_true(fabs(factor - 1.3465735903) <= 1e-10);
    gqa_destroy(&layer);
}

/* --- tables ---------------------------------------------------------------------------------- */

/* sin and cos of x * y in 300 bits, rounded to long double. */
static void exact_sincos(double x, double y, long double *s, long double *c)
{
    mpfr_t a, b, u, v;
    mpfr_inits2(300, a, b, u, v, (mpfr_ptr)NULL);
    mpfr_set_d(a, x, MPFR_RNDN);
    mpfr_mul_d(b, a, y, MPFR_RNDN);
    mpfr_sin_cos(u, v, b, MPFR_RNDN);
    *s = mpfr_get_ld(u, MPFR_RNDN);
    *c = mpfr_get_ld(v, MPFR_RNDN);
    mpfr_clears(a, b, u, v, (mpfr_ptr)NULL);
}

static const int32_t positions[] = {0,    1,      2,       3,         127,       128, 299,   4095,
                                    8191, 131071, 1048575, 123456789, INT32_MAX, -1,  -70000};
enum { POSITIONS = sizeof positions / sizeof positions[0] };

static void make_table(const gqa_layer *layer, const int32_t *ids, int32_t axes, int32_t n,
                       int32_t pairs, int32_t length, float *c, float *s)
{
    const gqa_tensor cos_out = gqa_tensor_2d(c, GQA_F32, n, pairs);
    const gqa_tensor sin_out = gqa_tensor_2d(s, GQA_F32, n, pairs);
    gqa_error err = {0};
    if (gqa_stage_rope_table(layer, ids, axes, length, &cos_out, &sin_out, &err) != GQA_OK) {
        fail_msg("gqa_stage_rope_table: %s", err.message);
    }
}

/* The angle in double is off by 2^-53 of itself, gqa__sincos by 4e-16, the product with the factor
 * by 2^-53; then one rounding to f32 (2^-24 relative, half of a last place at most). */
static double table_tolerance(double angle, double factor, double value)
{
    return factor * (fabs(angle) * 0x1p-53 + 5e-16) + 0x1.000001p-24 * fabs(value);
}

static void check_table(const struct rope_case *c, int32_t length)
{
    const int32_t pairs = rope_pairs_of(&c->config);
    float cosine[POSITIONS * ROPE_MOST], sine[POSITIONS * ROPE_MOST];
    double freq[ROPE_MOST], factor;
    gqa_layer *layer = attention_layer(&c->config, NULL);
    assert_int_equal(gqa_rope_frequencies(layer, length, freq, &factor, NULL), GQA_OK);
    make_table(layer, positions, 1, POSITIONS, pairs, length, cosine, sine);
    for (int32_t i = 0; i < POSITIONS; i++) {
        for (int32_t j = 0; j < pairs; j++) {
            long double s, co;
            const double angle = (double)positions[i] * freq[j];
            exact_sincos(positions[i], freq[j], &s, &co);
            const double want_c = (double)(co * factor), want_s = (double)(s * factor);
            const double got_c = (double)cosine[i * pairs + j];
            const double got_s = (double)sine[i * pairs + j];
            if (!(fabs(got_c - want_c) <= table_tolerance(angle, factor, want_c)) ||
                !(fabs(got_s - want_s) <= table_tolerance(angle, factor, want_s))) {
                fail_msg("%s length %d position %d pair %d: cos %.9g sin %.9g, not %.9g %.9g",
                         c->name, (int)length, (int)positions[i], (int)j, got_c, got_s, want_c,
                         want_s);
            }
        }
    }
    gqa_destroy(&layer);
}

static void tables(void **state)
{
    static struct rope_case cases[ROPE_CASES];
    (void)state;
    rope_cases(cases);
    for (int i = 0; i < ROPE_CASES; i++) {
        check_table(&cases[i], 50);
        check_table(&cases[i], 9000);
    }
}

/* As torch computes them: each step rounded to f32. sin and cos are those of the f32 angle, within
 * one last place (the library rounds a double that is off by 4e-16), then one more rounding. */
static void tables_of_float_angles(void **state)
{
    static struct rope_case cases[ROPE_CASES];
    (void)state;
    rope_cases(cases);
    for (int i = 0; i < ROPE_CASES; i++) {
        struct rope_case *const c = &cases[i];
        const int32_t pairs = rope_pairs_of(&c->config);
        float cosine[POSITIONS * ROPE_MOST], sine[POSITIONS * ROPE_MOST];
        double freq[ROPE_MOST], factor;
        c->config.rope_float_angles = 1;
        gqa_layer *layer = attention_layer(&c->config, NULL);
        assert_int_equal(gqa_rope_frequencies(layer, 0, freq, &factor, NULL), GQA_OK);
        make_table(layer, positions, 1, POSITIONS, pairs, 1, cosine, sine);
        for (int32_t k = 0; k < POSITIONS * pairs; k++) {
            const float angle = (float)positions[k / pairs] * (float)freq[k % pairs];
            long double s, co;
            exact_sincos((double)angle, 1.0, &s, &co);
            const float want_c = (float)co * (float)factor, want_s = (float)s * (float)factor;
            assert_true(fabsf(cosine[k] - want_c) <= 0x1p-23f * fabsf(want_c));
            assert_true(fabsf(sine[k] - want_s) <= 0x1p-23f * fabsf(want_s));
        }
        gqa_destroy(&layer);
    }
}

static void float_angles_differ(void **state)
{
    gqa_config config = rope_base_config(64);
    const int32_t position = 131071;
    float c[2][32], s[2][32];
    float most = 0.0f;
    (void)state;
    for (int i = 0; i < 2; i++) {
        config.rope_float_angles = i;
        gqa_layer *layer = attention_layer(&config, NULL);
        make_table(layer, &position, 1, 1, 32, 0, c[i], s[i]);
        gqa_destroy(&layer);
    }
    for (int j = 0; j < 32; j++) {
        most = fmaxf(most, fabsf(s[0][j] - s[1][j]));
    }
    assert_true(most > 1e-4f);
}

/* rope_length 0 stands for the largest position + 1. */
static void length_zero_is_the_largest_position(void **state)
{
    static struct rope_case cases[ROPE_CASES];
    const int32_t ids[4] = {3, 100, 7, 99};
    (void)state;
    rope_cases(cases);
    for (int32_t n = 1; n <= 4; n++) {
        float c[2][4 * 64], s[2][4 * 64];
        gqa_layer *layer =
            attention_layer(&cases[ROPE_DYNAMIC].config, NULL); /* dynamic, trained for 100 */
        make_table(layer, ids, 1, n, 64, 0, c[0], s[0]);
        make_table(layer, ids, 1, n, 64, n == 1 ? 4 : 101, c[1], s[1]);
        assert_memory_equal(c[0], c[1], (size_t)n * 64 * sizeof(float));
        assert_memory_equal(s[0], s[1], (size_t)n * 64 * sizeof(float));
        gqa_destroy(&layer);
    }
}

static void reverse_negates_the_sine(void **state)
{
    gqa_config config = rope_base_config(48);
    float c[2][POSITIONS * 24], s[2][POSITIONS * 24];
    (void)state;
    for (int i = 0; i < 2; i++) {
        config.rope_reverse = i;
        gqa_layer *layer = attention_layer(&config, NULL);
        make_table(layer, positions, 1, POSITIONS, 24, 0, c[i], s[i]);
        gqa_destroy(&layer);
    }
    for (int k = 0; k < POSITIONS * 24; k++) {
        assert_true(c[0][k] == c[1][k] && s[0][k] == -s[1][k]);
    }
}

/* Each frequency takes the angle of its axis: columns of the one-axis table. */
static void mrope_axes(void **state)
{
    static const struct {
        gqa_mrope kind;
        int32_t sections[4];
        const char *axes; /* of 12 frequencies */
    } cases[] = {{GQA_MROPE_SECTIONS, {4, 5, 3, 0}, "000011111222"},
                 {GQA_MROPE_SECTIONS, {3, 1, 6, 2}, "000122222233"},
                 {GQA_MROPE_INTERLEAVED, {6, 3, 3, 0}, "012012012000"},
                 {GQA_MROPE_INTERLEAVED, {5, 4, 3, 0}, "012012012010"}};
    const int32_t ids[4][3] = {{5, 6, 7}, {50, 51, 49}, {300, 2, 77}, {9, 9, 4001}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gqa_config config = rope_base_config(24);
        float c[4][36], s[4][36], mc[36], ms[36];
        gqa_layer *layer = attention_layer(&config, NULL);
        for (int a = 0; a < 4; a++) {
            make_table(layer, ids[a], 1, 3, 12, 0, c[a], s[a]);
        }
        gqa_destroy(&layer);
        config.mrope = cases[i].kind;
        memcpy(config.mrope_sections, cases[i].sections, sizeof config.mrope_sections);
        layer = attention_layer(&config, NULL);
        make_table(layer, ids[0], cases[i].sections[3] > 0 ? 4 : 3, 3, 12, 0, mc, ms);
        gqa_destroy(&layer);
        for (int k = 0; k < 36; k++) {
            const int axis = cases[i].axes[k % 12] - '0';
            if (mc[k] != c[axis][k] || ms[k] != s[axis][k]) {
                fail_msg("mrope case %d: frequency %d does not follow axis %d", (int)i, k % 12,
                         axis);
            }
        }
    }
}

/* --- key ------------------------------------------------------------------------------------- */

static uint64_t key_of(const gqa_config *config)
{
    gqa_layer *layer = attention_layer(config, NULL);
    const uint64_t key = gqa_layer_rope_key(layer);
    gqa_destroy(&layer);
    return key;
}

static void keys_differ_by_case(void **state)
{
    static struct rope_case cases[ROPE_CASES];
    uint64_t keys[ROPE_CASES];
    (void)state;
    rope_cases(cases);
    for (int i = 0; i < ROPE_CASES; i++) {
        keys[i] = key_of(&cases[i].config);
        assert_true(keys[i] != 0);
        assert_true(keys[i] == key_of(&cases[i].config));
        for (int j = 0; j < i; j++) {
            if (keys[i] == keys[j]) {
                fail_msg("\"%s\" and \"%s\" have one key", cases[i].name, cases[j].name);
            }
        }
    }
}

static void keys_differ_by_field(void **state)
{
    gqa_config config = rope_base_config(64), other;
    const uint64_t key = key_of(&config);
    (void)state;
    other = config;
    other.rope = GQA_ROPE_NONE;
    assert_true(key_of(&other) == 0);
    other = config;
    other.rope = GQA_ROPE_INTERLEAVED; /* the same tables */
    assert_true(key_of(&other) == key);
    other = config;
    other.head_dim = 96;
    other.rotary_dim = 64;
    assert_true(key_of(&other) == key);
    other = config;
    other.rope_theta = 10000.5;
    assert_true(key_of(&other) != key);
    other = config;
    other.rope_reverse = 1;
    assert_true(key_of(&other) != key);
    other = config;
    other.rope_float_angles = 1;
    assert_true(key_of(&other) != key);
    other = config;
    other.rope_attention_factor = 1.5;
    assert_true(key_of(&other) != key);
    other = config;
    other.mrope = GQA_MROPE_SECTIONS;
    other.mrope_sections[0] = 16;
    other.mrope_sections[1] = 16;
    assert_true(key_of(&other) != key);
    config = other;
    other.mrope_sections[1] = 8;
    other.mrope_sections[2] = 8;
    assert_true(key_of(&other) != key_of(&config));
}

static void keys_differ_by_length_rule(void **state)
{
    static struct rope_case cases[ROPE_CASES];
    gqa_config config, other;
    (void)state;
    rope_cases(cases);
    for (int i = ROPE_DYNAMIC; i <= ROPE_LONG; i++) {
        config = other = cases[i].config;
        other.rope_original_context++;
        if (i == ROPE_LONG) {
            config.rope_attention_factor = other.rope_attention_factor = 1.0;
            config.rope_factor = other.rope_factor = 0.0;
        }
        assert_true(key_of(&config) != key_of(&other));
    }
    config = other = cases[ROPE_DYNAMIC].config;
    other.rope_factor = 5;
    assert_true(key_of(&config) != key_of(&other));
}

/* --- rotation -------------------------------------------------------------------------------- */

/* Two products and a sum: one product and the sum are rounded, 2^-24 each. */
static void check_rotation(gqa_rope style, int32_t dk, int32_t rotary, int32_t heads, int32_t n)
{
    gqa_config config = rope_base_config(dk);
    uint64_t seed = 3;
    float x[7 * 3 * 64], y[7 * 3 * 64], c[7 * 32], s[7 * 32];
    const int32_t pairs = rotary / 2;
    config.rope = style;
    config.rotary_dim = rotary;
    gqa_layer *layer = attention_layer(&config, NULL);
    random_floats(&seed, x, (int64_t)n * heads * dk, 2.0f);
    random_floats(&seed, c, (int64_t)n * pairs, 1.0f);
    random_floats(&seed, s, (int64_t)n * pairs, 1.0f);
    memcpy(y, x, sizeof y);
    const gqa_tensor tx = gqa_tensor_3d(y, GQA_F32, n, heads, dk);
    const gqa_tensor tc = gqa_tensor_2d(c, GQA_F32, n, pairs);
    const gqa_tensor ts = gqa_tensor_2d(s, GQA_F32, n, pairs);
    assert_int_equal(gqa_stage_rope(layer, &tc, &ts, &tx, NULL), GQA_OK);
    for (int32_t i = 0; i < n * heads * dk; i++) {
        const int32_t d = i % dk;
        const float *const head = x + i - d;
        if (d >= rotary) {
            assert_true(y[i] == x[i]);
            continue;
        }
        const bool half = style == GQA_ROPE_HALF;
        const int32_t j = half ? d % pairs : d / 2;
        const bool second = half ? d >= pairs : d % 2 == 1;
        const double u = (double)head[half ? j : 2 * j];
        const double w = (double)head[half ? j + pairs : 2 * j + 1];
        const double co = (double)c[i / dk / heads * pairs + j];
        const double si = (double)s[i / dk / heads * pairs + j];
        const double want = second ? w * co + u * si : u * co - w * si;
        const double size = fabs(second ? u * si : w * si) + fabs(want);
        if (!(fabs((double)y[i] - want) <= 0x1.01p-24 * size)) {
            fail_msg("style %d dk %d rotary %d heads %d n %d: element %d is %.9g, not %.9g",
                     (int)style, (int)dk, (int)rotary, (int)heads, (int)n, (int)i, (double)y[i],
                     want);
        }
    }
    gqa_destroy(&layer);
}

static void rotation(void **state)
{
    static const int32_t dims[][2] = {{8, 8}, {9, 8}, {30, 2}, {33, 32}, {64, 64}, {64, 62}};
    (void)state;
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        for (int32_t heads = 1; heads <= 3; heads++) {
            check_rotation(GQA_ROPE_HALF, dims[i][0], dims[i][1], heads, 7);
            check_rotation(GQA_ROPE_INTERLEAVED, dims[i][0], dims[i][1], heads, 7);
        }
    }
}

/* --- errors ---------------------------------------------------------------------------------- */

static void refused(gqa_status got, const gqa_error *err, gqa_status status, const char *field)
{
    assert_int_equal(got, status);
    assert_int_equal(err->status, status);
    assert_string_equal(err->field, field);
    assert_non_null(strstr(err->message, field));
}

static void errors(void **state)
{
    gqa_config config = rope_base_config(16);
    gqa_layer *layer = attention_layer(&config, NULL);
    gqa_error e;
    float c[16], s[16], x[64] = {0};
    double out[8];
    const int32_t ids[2] = {0, 1};
    const gqa_tensor tc = gqa_tensor_2d(c, GQA_F32, 2, 8), ts = gqa_tensor_2d(s, GQA_F32, 2, 8);
    const gqa_tensor narrow = gqa_tensor_2d(s, GQA_F32, 2, 7);
    const gqa_tensor shorter = gqa_tensor_2d(s, GQA_F32, 1, 8);
    const gqa_tensor tx = gqa_tensor_3d(x, GQA_F32, 2, 2, 16);
    gqa_tensor bf16 = tx, strided = tx;
    (void)state;
    bf16.dtype = GQA_BF16;
    strided.shape[0] = 1;
    strided.stride[1] = 32;
    refused(gqa_stage_rope_table(NULL, ids, 1, 0, &tc, &ts, &e), &e, GQA_ERR_ARG, "layer");
    refused(gqa_stage_rope_table(layer, NULL, 1, 0, &tc, &ts, &e), &e, GQA_ERR_ARG, "positions");
    refused(gqa_stage_rope_table(layer, ids, 3, 0, &tc, &ts, &e), &e, GQA_ERR_ARG, "axes");
    refused(gqa_stage_rope_table(layer, ids, 1, -1, &tc, &ts, &e), &e, GQA_ERR_ARG, "rope_length");
    refused(gqa_stage_rope_table(layer, ids, 1, 0, NULL, &ts, &e), &e, GQA_ERR_ARG, "cos_out");
    refused(gqa_stage_rope_table(layer, ids, 1, 0, &tc, &narrow, &e), &e, GQA_ERR_SHAPE, "sin_out");
    refused(gqa_stage_rope_table(layer, ids, 1, 0, &tc, &shorter, &e), &e, GQA_ERR_SHAPE,
            "sin_out");
    refused(gqa_stage_rope(layer, &tc, &ts, NULL, &e), &e, GQA_ERR_ARG, "x");
    refused(gqa_stage_rope(layer, NULL, &ts, &tx, &e), &e, GQA_ERR_ARG, "cos_in");
    refused(gqa_stage_rope(layer, &tc, &narrow, &tx, &e), &e, GQA_ERR_SHAPE, "sin_in");
    refused(gqa_stage_rope(layer, &tc, &ts, &bf16, &e), &e, GQA_ERR_ARG, "x");
    refused(gqa_stage_rope(layer, &shorter, &shorter, &strided, &e), &e, GQA_ERR_SHAPE, "x");
    refused(gqa_rope_frequencies(layer, 0, NULL, NULL, &e), &e, GQA_ERR_ARG, "out");
    refused(gqa_rope_frequencies(layer, -3, out, NULL, &e), &e, GQA_ERR_ARG, "rope_length");
    gqa_destroy(&layer);
    config.rope = GQA_ROPE_NONE;
    layer = attention_layer(&config, NULL);
    refused(gqa_rope_frequencies(layer, 0, out, NULL, &e), &e, GQA_ERR_ARG, "config.rope");
    refused(gqa_stage_rope_table(layer, ids, 1, 0, &tc, &ts, &e), &e, GQA_ERR_ARG, "config.rope");
    assert_int_equal(gqa_stage_rope(layer, NULL, NULL, &tx, NULL), GQA_OK);
    gqa_destroy(&layer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies),
        cmocka_unit_test(frequencies_of_gpt_oss),
        cmocka_unit_test(tables),
        cmocka_unit_test(tables_of_float_angles),
        cmocka_unit_test(float_angles_differ),
        cmocka_unit_test(length_zero_is_the_largest_position),
        cmocka_unit_test(reverse_negates_the_sine),
        cmocka_unit_test(mrope_axes),
        cmocka_unit_test(keys_differ_by_case),
        cmocka_unit_test(keys_differ_by_field),
        cmocka_unit_test(keys_differ_by_length_rule),
        cmocka_unit_test(rotation),
        cmocka_unit_test(errors),
    };
    return RUN_TESTS(argc, argv, tests);
}
