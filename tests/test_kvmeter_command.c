/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvmeter_command.c - gqa kvmeter around its numbers: the advice, random data with outlier
 * channels, what is printed, the JSON, wrong usage. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "support/command.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "tool/kv_advice.h"
#include "tool/kv_data.h"

#define SMALL  "'" GQA_GOLDEN_DIR "/s01_gptoss_small_window.safetensors'"
#define LARGER "'" GQA_GOLDEN_DIR "/s02_gptoss_small_full.safetensors'" /* heads of 32 */
#define ATTN   "'" GQA_GOLDEN_DIR "/s17_fully_masked_rows_sinks.safetensors'"

/* --- the advice ---------------------------------------------------------------------------------
 */

enum { TYPES = 3 };

/* A meter of three types, whose pairs and scores are made up: bytes 100, 60, 30 of each. */
struct made_up {
    struct tool_kv_meter meter;
    struct tool_kv_type types[TYPES];
    struct tool_case c;
    struct tool_kv_pair pairs[TYPES * TYPES];
    struct tool_kv_error heads[TYPES * TYPES][2];
    struct tool_kv_divergence kl[TYPES][2];
};

static void make_up(struct made_up *made)
{
    static const int64_t bytes[TYPES] = {100, 60, 30};
    static const double errors[TYPES] = {0, 0.004, 0.008};

    memset(made, 0, sizeof *made);
    made->c.hq = 2, made->c.hkv = 1;
    made->c.block = true;
    made->meter.c = &made->c;
    made->meter.pairs = made->pairs;
    made->meter.choice.n = TYPES;
    for (int i = 0; i < TYPES; i++) {
        made->meter.choice.type[i] = &made->types[i];
    }
    for (int k = 0; k < TYPES; k++) {
        made->meter.scores[k].head = made->kl[k];
        made->meter.scores[k].worst = 1;
        made->meter.scores[k].all.mean = made->kl[k][0].mean = made->kl[k][1].mean = 4e-4 * k;
        for (int v = 0; v < TYPES; v++) {
            struct tool_kv_pair *const pair = &made->pairs[k * TYPES + v];
            pair->k = k, pair->v = v;
            pair->bytes = bytes[k] + bytes[v];
            pair->head = made->heads[k * TYPES + v];
            pair->out.rms = errors[k] * 0.9 + errors[v] * 0.2;
            pair->attn.rms = errors[k] * 0.9 + errors[v] * 0.2;
        }
    }
}

static void expect_advice(const struct made_up *made, int k, int v, int smaller_k, int smaller_v,
                          enum tool_kv_broken broken)
{
    const struct tool_kv_limits limits = {1e-3, 1e-2, 1e-2};
    struct tool_kv_advice advice;

    tool_kv_advise(&made->meter, &limits, &advice);
    assert_int_equal(advice.pair->k, k);
    assert_int_equal(advice.pair->v, v);
    if (broken == TOOL_KV_KEEPS) {
        assert_null(advice.smaller);
        return;
    }
    assert_int_equal(advice.smaller->k, smaller_k);
    assert_int_equal(advice.smaller->v, smaller_v);
    assert_int_equal(tool_kv_breaks(&made->meter, advice.smaller, &limits), broken);
}

static void test_advice(void **state)
{
    const struct tool_kv_limits none = {0, 0, 0};
    struct tool_kv_advice advice;
    struct made_up made;

    (void)state;
    make_up(&made);
    expect_advice(&made, 2, 2, 0, 0, TOOL_KV_KEEPS); /* the smallest one keeps all limits */
    make_up(&made);
    made.meter.scores[2].all.mean = 1.1e-3;
    expect_advice(&made, 1, 2, 2, 2, TOOL_KV_BREAKS_KL);
    make_up(&made);
    made.kl[2][1].mean = 1.1e-2; /* the worst head alone */
    expect_advice(&made, 1, 2, 2, 2, TOOL_KV_BREAKS_HEAD);
    make_up(&made);
    made.meter.scores[2].all.mean = NAN;
    expect_advice(&made, 1, 2, 2, 2, TOOL_KV_BREAKS_KL);
    make_up(&made);
    made.pairs[8].out.rms = made.pairs[5].out.rms = made.pairs[7].out.rms = NAN; /* 2-2 1-2 2-1 */
    expect_advice(&made, 1, 1, 1, 2, TOOL_KV_BREAKS_ERROR); /* 90 bytes, before 60 */
    make_up(&made);
    made.pairs[8].out.rms = 1; /* of 1-2 and 2-1, both 90 bytes, the one of less error */
    expect_advice(&made, 1, 2, 2, 2, TOOL_KV_BREAKS_ERROR);
    made.pairs[5].out.rms = 0.009;
    expect_advice(&made, 2, 1, 2, 2, TOOL_KV_BREAKS_ERROR);
    made.types[2].rotated = 1; /* as many rotations, so the error still decides; */
    expect_advice(&made, 2, 1, 2, 2, TOOL_KV_BREAKS_ERROR);
    made.pairs[4].bytes = 90; /* 1-1 has none, and so the larger error of the three */
    made.pairs[4].out.rms = 0.0099;
    expect_advice(&made, 1, 1, 2, 2, TOOL_KV_BREAKS_ERROR);

    make_up(&made);
    tool_kv_advise(&made.meter, &none, &advice); /* nothing is lost by the first pair */
    assert_ptr_equal(advice.pair, &made.pairs[0]);
    expect_advice(&made, 2, 2, 0, 0, TOOL_KV_KEEPS);
    make_up(&made);
    tool_kv_advise(&made.meter, &(struct tool_kv_limits){1e-3, 1e-2, 1e-2}, &advice);
    assert_true(advice.weak_k);      /* 0.9 of its error, and 0.2 of V's */
    made.pairs[2].attn.rms = 0.0073; /* V alone */
    tool_kv_advise(&made.meter, &(struct tool_kv_limits){1e-3, 1e-2, 1e-2}, &advice);
    assert_false(advice.weak_k);
}

static void test_unbeaten(void **state)
{
    /* 2-1 has the bytes of 1-2 and more error; 1-0 those of 0-1. NaN is beaten. */
    static const bool unbeaten[TYPES * TYPES] = {true, true, true, false, true, true, false, false};
    struct made_up made;

    (void)state;
    make_up(&made);
    made.pairs[8].out.rms = NAN;
    for (int i = 0; i < TYPES * TYPES; i++) {
        if (tool_kv_unbeaten(&made.meter, &made.pairs[i]) != unbeaten[i]) {
            fail_msg("pair %d", i);
        }
    }
    made.pairs[4].out.rms = made.pairs[5].out.rms; /* as good with fewer bytes */
    assert_false(tool_kv_unbeaten(&made.meter, &made.pairs[4]));
}

/* --- random data --------------------------------------------------------------------------------
 */

/* As the header says: outliers of each KV head of 10 to 30, one in each band, the rest 0; the same
 * seed the same numbers; elements of q of variance 1. */
static void test_data(void **state)
{
    static const int32_t outliers[] = {0, 4};
    struct tool_kv_recipe recipe = {TOOL_KV_GPT_OSS, 3, 0, 7};
    struct tool_kv_data data, again;
    struct tool_fault fault = {.text = ""};
    double squares = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        recipe.outliers = outliers[i];
        assert_true(tool_kv_data_make(&data, &recipe, &fault));
        for (int channel = 0, found = 0; channel < 8 * 64; channel++) {
            const float size = fabsf(data.bk[channel]);
            assert_true(size == 0 || (size >= 10 && size <= 30));
            found += size > 0;
            if (outliers[i] > 0 && (channel + 1) % (64 / outliers[i]) == 0) {
                assert_int_equal(found, 1);
                found = 0;
            }
            assert_true(outliers[i] > 0 || found == 0);
        }
        if (i < 1) {
            tool_kv_data_free(&data);
        }
    }
    assert_true(tool_kv_data_make(&again, &recipe, &fault));
    assert_memory_equal(data.bk, again.bk, 8 * 64 * sizeof(float));
    assert_memory_equal(data.x, again.x, 3 * 2880 * sizeof(float));
    tool_kv_data_free(&again);
    recipe.seed = 8;
    assert_true(tool_kv_data_make(&again, &recipe, &fault));
    assert_memory_not_equal(data.x, again.x, 3 * 2880 * sizeof(float));
    /* A row of wq against 2880 numbers of variance 1: the mean of 4096 squares is 1 with standard
     * error sqrt(2 / 4096) = 0.022; 6 of them. */
    for (int i = 0; i < 4096; i++) {
        double dot = 0, size = 0;
        for (int e = 0; e < 2880; e++) {
            dot += (double)data.wq[i * 2880 + e] * (double)data.x[e];
            size += (double)data.x[e] * (double)data.x[e] / 2880;
        }
        squares += dot * dot / size / 4096;
    }
    assert_true(fabs(squares - 1) < 6 * 0.0221);
    tool_kv_data_free(&data);
    tool_kv_data_free(&again);
}

/* --- the JSON -----------------------------------------------------------------------------------
 */

static char text[1 << 21];

static json_t *run_json(const char *words, int status)
{
    json_error_t error;

    assert_int_equal(run_command(GQA_TOOL_PATH, words, "2>/dev/null", text, sizeof text), status);
    json_t *const whole = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (whole == NULL) {
        fail_msg("%s: line %d: %s", words, error.line, error.text);
    }
    return whole;
}

static double mean_kl(json_t *one, const char *type)
{
    size_t i;
    json_t *scores;

    json_array_foreach(json_object_get(one, "scores"), i, scores)
    {
        if (strcmp(json_string_value(json_object_get(scores, "k")), type) == 0) {
            return json_real_value(json_object_get(json_object_get(scores, "kl"), "mean"));
        }
    }
    fail_msg("no scores of %s", type);
    return 0;
}

/* Every key that docs/gqa-command.md lists, of a case from hidden states and of attention alone. */
static void test_json(void **state)
{
    const char *kernels, *base, *refused, *k, *v, *why;
    int batch, tokens, past, valid, query_heads, kv_heads, head_dim, v_head_dim, bytes, worst;
    double gap, kl, mean, most, out_rms, rms;
    json_t *scores, *pairs, *cases, *out, *weaker, *next, *heads;
    json_t *const whole = run_json("kvmeter --json --max-kl 0.002 " SMALL " " ATTN, 0);

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    assert_string_equal(json_string_value(json_object_get(whole, "schema")), "gqa-kvmeter/1");
    cases = json_object_get(whole, "cases");
    assert_int_equal(json_array_size(cases), 2);
    assert_int_equal(json_unpack(whole, "{s:{s:f, s:f, s:f}, s:i, s:i}", "limits", "kl", &kl,
                                 "kl_head", &mean, "error", &most, "not_run", &past, "exit_status",
                                 &valid),
                     0);
    assert_true(kl == 0.002 && mean == 0.01 && most == 0.02 && past == 0 && valid == 0);
    assert_int_equal(
        json_unpack(json_array_get(cases, 0),
                    "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:F, s:[], "
                    "s:o, s:o, s:{s:s, s:s, s:i, s:o, s:o}}",
                    "case", &why, "backend", &k, "isa", &v, "kernels", &kernels, "batch", &batch,
                    "tokens", &tokens, "past", &past, "valid_tokens", &valid, "query_heads",
                    &query_heads, "kv_heads", &kv_heads, "head_dim", &head_dim, "v_head_dim",
                    &v_head_dim, "base", &base, "lse_difference", &gap, "refused", "scores",
                    &scores, "pairs", &pairs, "advice", "k", &refused, "v", &refused,
                    "bytes_per_token", &bytes, "weaker", &weaker, "next_smaller", &next),
        0);
    assert_int_equal(json_array_size(scores), TOOL_KV_TYPES);
    assert_int_equal(json_array_size(pairs), TOOL_KV_TYPES * TOOL_KV_TYPES);
    assert_int_equal(json_unpack(json_array_get(scores, 1), "{s:s, s:{s:F, s:F, s:i}, s:i, s:o}",
                                 "k", &k, "kl", "mean", &mean, "largest", &most, "rows", &valid,
                                 "worst_head", &worst, "heads", &heads),
                     0);
    assert_int_equal(valid, tokens * query_heads); /* all are valid and have a sink */
    assert_int_equal(json_array_size(heads), 8);
    assert_int_equal(json_unpack(json_array_get(pairs, 0),
                                 "{s:s, s:s, s:i, s:{s:F, s:F}, s:i, s:o, s:{s:F, s:F}, s:b}", "k",
                                 &k, "v", &v, "bytes_per_token", &bytes, "attn", "rms", &rms,
                                 "largest", &most, "worst_head", &worst, "heads", &heads, "out",
                                 "rms", &out_rms, "largest", &most, "within_limits", &valid),
                     0);
    assert_true(rms == 0 && out_rms == 0 && valid == 1 && bytes == 2 * (16 + 16) * 4);
    assert_int_equal(json_array_size(heads), 8);
    out = json_object_get(json_array_get(json_object_get(json_array_get(cases, 1), "pairs"), 1),
                          "out");
    assert_true(json_is_null(out)); /* attention alone has no projection */
    json_decref(whole);
}

/* Numerics bf16 measure against bf16 and name what they have no caches for; a bad file is told and
 * the others are run. */
static void test_json_bf16(void **state)
{
    json_t *whole, *one, *refused;

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_BF16);
    whole = run_json("kvmeter --json --numerics bf16 missing.safetensors " SMALL, 2);
    assert_int_equal(json_integer_value(json_object_get(whole, "not_run")), 1);
    one = json_array_get(json_object_get(whole, "cases"), 0);
    assert_non_null(strstr(json_string_value(json_object_get(one, "error")), "No such file"));
    one = json_array_get(json_object_get(whole, "cases"), 1);
    assert_string_equal(json_string_value(json_object_get(one, "base")), "bf16");
    refused = json_object_get(one, "refused");
    assert_int_equal(json_array_size(refused), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(refused, 0), "type")),
                        "f32");
    assert_non_null(strstr(json_string_value(json_object_get(json_array_get(refused, 0), "why")),
                           "options.dtype_k"));
    json_decref(whole);
}

/* Outlier channels make int8 keys worse, by far: their scale is that of the outliers. A channel of
 * 20 among others of 1 makes the steps 20 / 2.5 times as large, and the divergence, which goes with
 * their square, 60 times; at least 10. Rotation spreads four of up to 30 over 64 elements: a sum of
 * their sizes, 80 in the mean, over 8, where the largest alone was about 26. So steps are half as
 * large at the most, and the divergence a quarter; below a half. */
static void test_outliers(void **state)
{
    json_t *whole;
    double with, without, rotated;

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_F32);
    whole = run_json("kvmeter --json --data gpt-oss --tokens 12 --outliers 0", 0);
    without = mean_kl(json_array_get(json_object_get(whole, "cases"), 0), "int8");
    json_decref(whole);
    whole = run_json("kvmeter --json --data gpt-oss --tokens 12 --seed 2", 0);
    with = mean_kl(json_array_get(json_object_get(whole, "cases"), 0), "int8");
    rotated = mean_kl(json_array_get(json_object_get(whole, "cases"), 0), "int8+r");
    json_decref(whole);
    assert_true(without > 0 && rotated > 0);
    if (!(with > 10 * without) || !(rotated < with / 2)) {
        fail_msg("%g with outliers, %g of it rotated, %g without", with, rotated, without);
    }
}

/* --- the text and wrong usage -------------------------------------------------------------------
 */

static void test_text(void **state)
{
    static const struct {
        const char *words, *says, *leaves_out;
    } cases[] = {
        {SMALL, "K/V that none beats", "KL mean by K"},
        {SMALL, "measured against f32 K and V", "no f32:"},
        {"--numerics bf16 " SMALL, "  no f32: options.dtype_k", "f16/f16"},
        {"--pairs " SMALL, "  e4m3+r/e4m3_240", "none beats"},
        {"--heads " SMALL, "head    7, KV head  1", "head    8,"},
        {"--heads " SMALL, "all of KV head    1", "all of KV head    2"},
        {"--max-kl 0 --max-error=0 " SMALL, "advice: K/V f32/f32, 256 bytes a token", "weaker"},
        {"--max-error 1 --max-kl 1 --max-head-kl 1 " LARGER, "advice: K/V int4/int4",
         "next smaller"},
        {"--table " SMALL " " ATTN, "| s17_fully_masked_rows_sinks | 0; 0 |", "advice:"},
        {"--backend reference " SMALL, "reference", "KL mean by K"},
        {"--data llama --tokens 2 --outliers 1", "32/8 heads of 128", "64/8"},
    };

    (void)state;
    skip_refused_numerics(GQA_NUMERICS_BF16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char words[512];

        snprintf(words, sizeof words, "kvmeter %s", cases[i].words);
        if (run_command(GQA_TOOL_PATH, words, "2>&1", text, sizeof text) != 0 ||
            strstr(text, cases[i].says) == NULL || strstr(text, cases[i].leaves_out) != NULL) {
            fail_msg("%s: \"%s\"; expected \"%s\", and no \"%s\"", words, text, cases[i].says,
                     cases[i].leaves_out);
        }
    }
}

static void test_usage(void **state)
{
    static const struct {
        const char *words, *message;
    } usages[] = {
        {"", "kvmeter needs a file, or --data"},
        {"x --data gpt-oss", "takes files or --data, not both"},
        {"--data mistral", "--data is mistral; it must be gpt-oss or llama"},
        {"--data", "--data needs a value"},
        {"--data gpt-oss --tokens 0", "--tokens is 0; it must be 1 to 8192"},
        {"--data gpt-oss --outliers 65", "--outliers is 65; it must be 0 to 64"},
        {"--data gpt-oss --seed -1", "--seed is -1"},
        {"x --tokens=5", "--tokens=5 is of --data"},
        {"x --seed 5", "--seed is of --data"},
        {"x --backend neuron", "kvmeter takes cpu or reference"},
        {"x --numerics f16", "--numerics is f16"},
        {"x --isa sse", "--isa is sse"},
        {"x --threads 0", "--threads is 0"},
        {"x --max-kl", "--max-kl needs a value"},
        {"x --max-kl little", "--max-kl is little; it must be a number from 0 on"},
        {"x --max-head-kl -1", "--max-head-kl is -1; it must be a number from 0 on"},
        {"x --max-error=nan", "--max-error is nan"},
        {"x --json --heads", "--heads and --pairs are of the text"},
        {"x --table --pairs", "--heads and --pairs are of the text"},
        {"x --table --json", "--table and --json are two forms"},
        {"x --fast", "kvmeter does not take --fast"},
        {"missing.safetensors", "No such file"},
        {"'" GQA_SOURCE_DIR "/tests/golden_neuron/n01_flash_causal_512.safetensors'",
         "is a case of Neuron's profiles"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++) {
        char words[512];
        int status;

        snprintf(words, sizeof words, "kvmeter %s", usages[i].words);
        status = run_command(GQA_TOOL_PATH, words, "2>&1 >/dev/null", text, sizeof text);
        if (status != 2 || strstr(text, usages[i].message) == NULL) {
            fail_msg("gqa %s: exit status %d, \"%s\"; expected 2, \"%s\"", words, status, text,
                     usages[i].message);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advice),    cmocka_unit_test(test_unbeaten),
        cmocka_unit_test(test_data),      cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_bf16), cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_text),      cmocka_unit_test(test_usage),
    };
    return RUN_TESTS(argc, argv, tests);
}
