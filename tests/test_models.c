/* SPDX-License-Identifier: Apache-2.0 */
/* test_models.c - configs of published models: the checker accepts them, the derived shape is what
 * their weights have, and each in miniature computes what the double oracle does.
 *
 * test_models MODEL repeats the numbers of one row of support/published.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/shape.h"
#include "support/differential.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/published.h"

static void derive(const char *name, struct gqa__shape *shape)
{
    for (int i = 0; i < published_count; i++) {
        if (strcmp(published_models[i].name, name) == 0) {
            gqa_config config;
            published_config(&published_models[i].config, &config);
            memset(shape, 0x55, sizeof *shape);
            gqa__shape_derive(shape, &config);
            return;
        }
    }
    fail_msg("no model %s", name);
}

static void accepted(void **state)
{
    (void)state;
    for (int i = 0; i < published_count; i++) {
        gqa_config config;
        gqa_error err;
        published_config(&published_models[i].config, &config);
        if (gqa_config_check(&config, &err) != GQA_OK) {
            fail_msg("%s: %s", published_models[i].name, err.message);
        }
    }
    print_message("%d configs accepted\n", published_count);
}

/* What the model matrix has and this library does not: by name. */
static void refused(void **state)
{
    static const struct {
        const char *says;
        gqa_config config;
    } rows[] = {
        /* Phi-3-small, sparse layer */
        {"block-sparse",
         {.hidden_size = 4096,
          .num_attention_heads = 32,
          .num_key_value_heads = 8,
          .head_dim = 128,
          .attention_kind = GQA_ATTENTION_BLOCK_SPARSE}},
        /* MiniMax-M3 */
        {"block-sparse",
         {.hidden_size = 4096,
          .num_attention_heads = 64,
          .num_key_value_heads = 4,
          .head_dim = 128,
          .attention_kind = GQA_ATTENTION_BLOCK_SPARSE}},
        /* DeepSeek-V3 */
        {"MLA",
         {.hidden_size = 7168,
          .num_attention_heads = 128,
          .num_key_value_heads = 128,
          .head_dim = 192,
          .attention_kind = GQA_ATTENTION_MLA}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gqa_config config;
        gqa_error err;
        published_config(&rows[i].config, &config);
        assert_int_equal(gqa_config_check(&config, &err), GQA_ERR_UNSUPPORTED);
        assert_string_equal(err.field, "config.attention_kind");
        assert_non_null(strstr(err.message, rows[i].says));
    }
}

static void shape_gptoss_padded(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("gpt-oss, odd layer, padded", &s);
    assert_int_equal(s.hidden, 3072);
    assert_int_equal(s.hidden_true, 2880);
    assert_int_equal(s.group, 8);
    assert_int_equal(s.q_rows, 4096);
    assert_int_equal(s.k_rows, 512);
    assert_int_equal(s.v_rows, 512);
    assert_int_equal(s.o_in, 4096);
    assert_int_equal(s.gate_rows, 0);
    assert_int_equal(s.gate_dim, 0);
    assert_int_equal(s.rotary_dim, 64);
    assert_int_equal(s.rope_axes, 1);
    assert_int_equal(s.window, 0);
    assert_int_equal(s.right, 0);
    assert_int_equal(s.chunk, 0);
    assert_true(s.score_scale == 0.125f);
}

static void shape_gates(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("Qwen3-Next 80B-A3B", &s);
    assert_int_equal(s.q_head_rows, 512);
    assert_int_equal(s.q_rows, 16 * 512);
    assert_int_equal(s.gate_rows, 0);
    assert_int_equal(s.gate_dim, 256);
    derive("AFMoE Trinity Mini", &s);
    assert_int_equal(s.q_head_rows, 128);
    assert_int_equal(s.gate_rows, 4096);
    assert_int_equal(s.gate_dim, 128);
    derive("Laguna", &s);
    assert_int_equal(s.gate_rows, 64);
    assert_int_equal(s.gate_dim, 1);
}

static void shape_dims(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("Llama 2 7B", &s);
    assert_int_equal(s.dk, 128);
    assert_int_equal(s.hidden_true, 4096);
    derive("MiMo-V2-Flash, windowed", &s);
    assert_int_equal(s.dk, 192);
    assert_int_equal(s.dv, 128);
    assert_int_equal(s.k_rows, 8 * 192);
    assert_int_equal(s.v_rows, 8 * 128);
    assert_int_equal(s.o_in, 64 * 128);
    assert_int_equal(s.window, 128);
    derive("Gemma 4 E2B, global", &s);
    assert_int_equal(s.v_rows, 512);
    derive("Gemma 4 31B, global", &s);
    assert_int_equal(s.v_rows, 0);
    assert_int_equal(s.k_rows, 2048);
    assert_int_equal(s.rotary_dim, 512);
    assert_true(s.score_scale == 1.0f);
    derive("Falcon 7B", &s);
    assert_int_equal(s.group, 71);
}

static void shape_spans_and_axes(void **state)
{
    struct gqa__shape s;

    (void)state;
    derive("Gemma 3, image block", &s);
    assert_int_equal(s.window, 1024);
    assert_int_equal(s.right, 1023);
    derive("Llama 4 Scout, rope layer", &s);
    assert_int_equal(s.chunk, 8192);
    assert_int_equal(s.right, 0);
    derive("Llama 4 Scout, NoPE layer", &s);
    assert_int_equal(s.rotary_dim, 0);
    assert_int_equal(s.rope_axes, 0);
    derive("Qwen2-VL 7B", &s);
    assert_int_equal(s.rope_axes, 3);
}

/* Four axes, and every later key visible. */
static void shape_rare(void **state)
{
    struct gqa__shape s;
    gqa_config config;

    (void)state;
    published_config(&published_models[0].config, &config);
    config.mrope = GQA_MROPE_SECTIONS;
    config.mrope_sections[0] = 32;
    config.mrope_sections[3] = 32;
    config.bidirectional = 1;
    assert_int_equal(gqa_config_check(&config, NULL), GQA_OK);
    gqa__shape_derive(&s, &config);
    assert_int_equal(s.rope_axes, 4);
    assert_int_equal(s.right, -1);
}

/* --- numbers -----------------------------------------------------------------------------------
 */

/* Every stage of every call on one backend, within the oracle's bounds (support/oracle.h). */
static void compare(int model, gqa_numerics numerics, gqa_backend backend,
                    differential_stats *stats)
{
    const char *field;
    random_case c;
    differential_truth truth;
    gqa_error err;

    if (!published_case(model, &c, &field)) {
        fail_msg("%s: the miniature is without %s", published_models[model].name, field);
    }
    c.config.numerics = numerics;
    c.config.backend = backend;
    c.choice[OPT_REFERENCE_F64] = c.config.reference_f64;
    c.config.reference_f64 = 0;
    if (gqa_config_check(&c.config, &err) != GQA_OK) {
        fail_msg("%s: %s", published_models[model].name, err.message);
    }
    random_build(&c);
    differential_truth_init(&truth, &c);
    differential_run(&c, &truth, backend, stats);
    differential_truth_free(&truth, &c);
    random_free(&c);
}

static void compare_all(gqa_numerics numerics, gqa_backend backend)
{
    differential_stats stats = {0};
    int bad = 0;

    skip_refused_numerics(numerics);
    for (int i = 0; i < published_count; i++) {
        const int before = stats.failures;
        compare(i, numerics, backend, &stats);
        if (stats.failures > before) {
            print_error("%s: %d numbers are off; repeat: test_models %d\n",
                        published_models[i].name, stats.failures - before, i);
            bad++;
        }
    }
    print_message("%d models, %lld numbers, %lld without a bound; error / bound at most %.3g\n",
                  published_count, (long long)stats.numbers, (long long)stats.unbounded,
                  stats.worst);
    assert_int_equal(bad, 0);
    assert_true(stats.numbers > 1000 * published_count);
    assert_int_equal(stats.unbounded, 0);
}

static void numbers_cpu_f32(void **state)
{
    (void)state;
    compare_all(GQA_NUMERICS_F32, GQA_BACKEND_CPU);
}

static void numbers_cpu_bf16(void **state)
{
    (void)state;
    compare_all(GQA_NUMERICS_BF16, GQA_BACKEND_CPU);
}

static void numbers_reference(void **state)
{
    (void)state;
    compare_all(GQA_NUMERICS_F32, GQA_BACKEND_REFERENCE);
}

static int repeat(int model)
{
    differential_stats stats = {0};

    if (model < 0 || model >= published_count) {
        fprintf(stderr, "usage: test_models [0 .. %d]\n", published_count - 1);
        return 2;
    }
    printf("%s\n", published_models[model].name);
    compare(model, GQA_NUMERICS_F32, GQA_BACKEND_CPU, &stats);
    compare(model, GQA_NUMERICS_BF16, GQA_BACKEND_CPU, &stats);
    compare(model, GQA_NUMERICS_F32, GQA_BACKEND_REFERENCE, &stats);
    printf("%lld numbers, %d failures\n", (long long)stats.numbers, stats.failures);
    return stats.failures > 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(shape_gptoss_padded),
        cmocka_unit_test(shape_gates),
        cmocka_unit_test(shape_dims),
        cmocka_unit_test(shape_spans_and_axes),
        cmocka_unit_test(shape_rare),
        cmocka_unit_test(numbers_cpu_f32),
        cmocka_unit_test(numbers_cpu_bf16),
        cmocka_unit_test(numbers_reference),
    };

    if (argc > 1 && argv[1][0] >= '0' && argv[1][0] <= '9') { /* a model */
        return repeat(atoi(argv[1]));
    }

    return RUN_TESTS(argc, argv, tests);
}
