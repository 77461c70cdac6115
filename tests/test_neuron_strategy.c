/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_strategy.c - which kernel a prefill takes and which path a call takes: the rules of
 * NeuronX Distributed Inference written out as tables, and every argument out of its range. */
#include <string.h>

#include "gqa/neuron_maps.h"
#include "support/program.h"
#include "support/refusal.h"

#define AUTO   GQA_NEURON_ATTN_KERNEL_AUTO
#define NEVER  GQA_NEURON_ATTN_KERNEL_FALSE
#define FORCED GQA_NEURON_ATTN_KERNEL_TRUE

enum { REFUSED = -1, NONE, UNSHARDED, SHARDED, CP, STRIDED_CP, WINDOW };

/* --- the strategy -------------------------------------------------------------------------------
 */

/* In the order of the struct: release, kernel, LNC, cp, strided, window, head_dim, q_len, mask,
 * trn1. */
static const struct choice {
    gqa_neuron_strategy_input in;
    int want;
} choices[] = {
    /* The kernel forbidden: nothing else counts, not even the strided flag. */
    {{226, NEVER, 2, 1, 0, 128, 64, 4096, 1, 0}, NONE},
    {{229, NEVER, 2, 4, 1, 0, 64, 4096, 1, 0}, NONE},
    /* Context parallelism: two cores, and more rows than head_dim. q_len is the rank's own. */
    {{229, AUTO, 2, 4, 0, 0, 64, 65, 1, 0}, CP},
    {{229, AUTO, 2, 4, 0, 0, 64, 64, 1, 0}, NONE},
    {{229, AUTO, 2, 4, 0, 0, 1, 2, 1, 0}, CP},
    {{229, AUTO, 1, 4, 0, 0, 64, 4096, 1, 0}, NONE},
    {{226, AUTO, 2, 4, 0, 128, 64, 4096, 1, 0}, CP}, /* before the window's kernel */
    {{229, AUTO, 2, 4, 1, 0, 64, 65, 1, 0}, STRIDED_CP},
    {{229, AUTO, 2, 4, 1, 128, 64, 4096, 1, 0}, REFUSED}, /* no window */
    {{229, AUTO, 2, 4, 1, 0, 64, 64, 1, 0}, REFUSED},
    {{229, AUTO, 1, 4, 1, 0, 64, 4096, 1, 0}, REFUSED},
    {{229, AUTO, 2, 1, 1, 128, 64, 512, 1, 0}, SHARDED}, /* cp 1: strided changes nothing */
    {{229, AUTO, 2, 0, 1, 0, 64, 512, 1, 0}, SHARDED},
    /* prep_qkv_tensors passes all tokens, perform_prefill those of the rank: they may disagree. */
    {{229, AUTO, 2, 4, 0, 0, 128, 512, 1, 0}, CP},
    {{229, AUTO, 2, 4, 0, 0, 128, 512 / 4, 1, 0}, NONE},
    /* The window's kernel: 2.26 from 512 tokens on; below it no other kernel is asked for. */
    {{226, AUTO, 2, 1, 0, 128, 64, 512, 1, 0}, WINDOW},
    {{226, AUTO, 2, 1, 0, 128, 64, 513, 1, 0}, WINDOW},
    {{226, AUTO, 1, 1, 0, 1, 64, 4096, 0, 0}, WINDOW},
    {{226, AUTO, 2, 1, 0, 128, 64, 511, 1, 0}, NONE},
    {{226, AUTO, 2, 1, 0, 128, 64, 256, 1, 0}, NONE},
    {{227, AUTO, 1, 1, 0, 128, 64, 512, 1, 1}, WINDOW}, /* 2.27: trn1 alone */
    {{227, AUTO, 1, 1, 0, 128, 64, 511, 1, 1}, NONE},
    {{227, AUTO, 2, 1, 0, 128, 64, 512, 1, 0}, SHARDED},
    {{227, AUTO, 1, 1, 0, 128, 64, 512, 1, 0}, NONE},
    {{229, AUTO, 2, 1, 0, 128, 64, 512, 1, 1}, SHARDED}, /* 2.29: no longer */
    {{0, AUTO, 2, 1, 0, 128, 64, 512, 1, 1}, SHARDED},
    /* Two cores: from 1024 tokens on multiples of 512, below of 256, else a warning and none. */
    {{229, AUTO, 2, 1, 0, 0, 64, 256, 1, 0}, SHARDED},
    {{229, AUTO, 2, 1, 0, 0, 64, 255, 1, 0}, NONE},
    {{229, AUTO, 2, 1, 0, 0, 64, 128, 1, 0}, NONE},
    {{229, AUTO, 2, 1, 0, 0, 64, 768, 1, 0}, SHARDED},
    {{229, AUTO, 2, 1, 0, 0, 64, 1024, 1, 0}, SHARDED},
    {{229, AUTO, 2, 1, 0, 0, 64, 1280, 1, 0}, NONE},
    {{229, AUTO, 2, 1, 0, 0, 64, 1536, 1, 0}, SHARDED},
    {{226, AUTO, 2, 1, 0, 0, 64, 1280, 0, 0}, SHARDED}, /* no mask, no rule */
    {{229, AUTO, 2, 1, 0, 0, 64, 1, 0, 0}, SHARDED},    /* so with a cached prefix always */
    {{229, FORCED, 2, 1, 0, 0, 64, 1280, 1, 0}, NONE},  /* True does not help */
    {{229, AUTO, 4, 1, 0, 0, 64, 512, 1, 0}, SHARDED},
    {{229, AUTO, 2, 1, 0, 0, 256, 512, 1, 0}, SHARDED}, /* head_dim above 128 is not asked for */
    /* One core: from 4096 tokens on, or from 512 with True; divisibility is not asked for. */
    {{229, AUTO, 1, 1, 0, 0, 64, 4096, 1, 0}, UNSHARDED},
    {{229, AUTO, 1, 1, 0, 0, 64, 4097, 1, 0}, UNSHARDED},
    {{229, AUTO, 1, 1, 0, 0, 64, 4095, 1, 0}, NONE},
    {{229, AUTO, 0, 1, 0, 0, 64, 1024, 0, 0}, NONE},
    {{229, FORCED, 1, 1, 0, 0, 64, 512, 1, 0}, UNSHARDED},
    {{229, FORCED, 1, 1, 0, 0, 64, 511, 1, 0}, NONE},
    /* gpt-oss at 2.26, W = 128: prompts of 512 tokens lose their sinks (WINDOW has none). */
    {{226, AUTO, 2, 1, 0, 128, 64, 640, 1, 0}, WINDOW},
};

static void strategy_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        gqa_neuron_flash_strategy got = GQA_NEURON_STRATEGY_NONE;
        const gqa_status status = gqa_neuron_strategy(&choices[i].in, &got, NULL);
        const int code = status == GQA_OK ? (int)got : REFUSED;

        if (code != choices[i].want) {
            fail_msg("row %zu: %d; it must be %d", i, code, choices[i].want);
        }
    }
}

/* A refusal says what was asked for, and leaves the result alone. */
static void strategy_refusal(void **state)
{
    const gqa_neuron_strategy_input in = {229, AUTO, 2, 4, 1, 128, 64, 96, 1, 0};
    gqa_neuron_flash_strategy got = GQA_NEURON_STRATEGY_SHARDED_KERNEL;

    (void)state;
    refused(gqa_neuron_strategy(&in, &got, &refusal), GQA_ERR_UNSUPPORTED, "strided",
            "is 1; the kernel needs logical_nc_config (2) of 2, "
            "no sliding_window (128), and q_len (96) above head_dim 64");
    assert_int_equal(got, GQA_NEURON_STRATEGY_SHARDED_KERNEL);
}

/* --- the route ----------------------------------------------------------------------------------
 */

#define STANDARD GQA_NEURON_PATH_STANDARD_CAUSAL_ATTENTION
#define CHUNKED  GQA_NEURON_PATH_CHUNKED_ATTENTION
#define CHUNK_CP GQA_NEURON_PATH_CHUNKED_ATTENTION_WITH_CONTEXT_PARALLEL
#define WINDOWED GQA_NEURON_PATH_WINDOWED_ATTENTION
#define ENCODE   GQA_NEURON_ATTENTION_CONTEXT_ENCODE
#define TOKENGEN GQA_NEURON_ATTENTION_TOKENGEN
#define PREFIX   GQA_NEURON_PERFORM_PREFIX_PREFILL

/* What is not named is 0; input_len 0 stands for 16 here. */
static const struct step {
    gqa_neuron_route_input in;
    gqa_neuron_path path;
    gqa_neuron_operation operation;
} steps[] = {
    /* The four paths; the first that applies. */
    {{.release = GQA_NEURON_2_26}, STANDARD, ENCODE},
    {{.sliding_window = 128}, WINDOWED, ENCODE},
    {{.attention_chunk_size = 64}, CHUNKED, ENCODE},
    {{.attention_chunk_size = 64, .cp_degree = 1}, CHUNKED, ENCODE},
    {{.attention_chunk_size = 64, .cp_degree = 2}, CHUNK_CP, ENCODE},
    {{.attention_chunk_size = 64, .sliding_window = 128}, CHUNKED, ENCODE},
    {{.attention_chunk_size = 64, .seq_len = 65}, CHUNKED, ENCODE},
    {{.attention_chunk_size = 64, .seq_len = 64}, STANDARD, ENCODE},
    {{.attention_chunk_size = 64, .seq_len = 63, .sliding_window = 8}, WINDOWED, ENCODE},
    {{.cp_degree = 8}, STANDARD, ENCODE},
    /* A past means token generation, whatever the number of tokens ... */
    {{.has_past = 1, .input_len = 1}, STANDARD, TOKENGEN},
    {{.has_past = 1, .input_len = 4096}, STANDARD, TOKENGEN},
    {{.has_past = 1, .sliding_window = 128}, WINDOWED, TOKENGEN},
    {{.has_past = 1, .attention_chunk_size = 64}, CHUNKED, TOKENGEN},
    {{.has_past = 1, .attention_chunk_size = 64, .cp_degree = 2}, CHUNK_CP, TOKENGEN},
    /* ... but on the standard path with prefix caching, from 128 tokens on ... */
    {{.has_past = 1, .is_prefix_caching = 1, .input_len = 128}, STANDARD, PREFIX},
    {{.has_past = 1, .is_prefix_caching = 1, .input_len = 127},
     STANDARD,
     GQA_NEURON_TOKENGEN_PREFIX_CACHING},
    {{.has_past = 1, .is_prefix_caching = 1, .input_len = 128, .sliding_window = 8},
     WINDOWED,
     TOKENGEN},
    {{.has_past = 0, .is_prefix_caching = 1, .input_len = 1}, STANDARD, ENCODE},
    /* ... or with a window of windowed context encoding, which the chunked paths do not hear of. */
    {{.has_past = 1, .windowed_context_encoding = 1}, STANDARD, PREFIX},
    {{.release = GQA_NEURON_2_27,
      .has_past = 1,
      .windowed_context_encoding = 1,
      .sliding_window = 8},
     WINDOWED,
     ENCODE},
    {{.has_past = 1, .windowed_context_encoding = 1, .attention_chunk_size = 64},
     CHUNKED,
     TOKENGEN},
    /* Kernels of the standard path, in the order in which they are asked for. */
    {{.has_past = 1, .attn_block_tkg_kernel = 1, .is_prefix_caching = 1},
     STANDARD,
     GQA_NEURON_ATTENTION_BLOCK_TKG},
    {{.has_past = 1, .attn_block_tkg_kernel = 1, .sliding_window = 8}, WINDOWED, TOKENGEN},
    {{.has_past = 0, .attn_block_tkg_kernel = 1}, STANDARD, ENCODE},
    {{.has_past = 0, .attn_block_cte_kernel = 1}, STANDARD, GQA_NEURON_ATTENTION_BLOCK_CTE},
    {{.has_past = 0, .attn_block_cte_kernel = 1, .is_prefix_caching = 1}, STANDARD, ENCODE},
    {{.has_past = 1, .attn_block_cte_kernel = 1}, STANDARD, TOKENGEN},
    {{.release = GQA_NEURON_2_26, .has_past = 1, .attn_tkg_builtin_kernel = 1},
     STANDARD,
     GQA_NEURON_ATTENTION_TKG_BUILTIN},
    {{.release = GQA_NEURON_2_27, .has_past = 1, .attn_tkg_nki_kernel = 1, .is_prefix_caching = 1},
     STANDARD,
     GQA_NEURON_ATTENTION_TKG_NKI},
    {{.release = GQA_NEURON_2_29, .has_past = 1, .attn_tkg_nki_kernel = 1},
     STANDARD,
     GQA_NEURON_ATTENTION_BLOCK_TKG},
    {{.release = GQA_NEURON_2_29, .has_past = 1, .attn_tkg_builtin_kernel = 1},
     STANDARD,
     GQA_NEURON_ATTENTION_BLOCK_TKG},
    {{.release = GQA_NEURON_2_26, .has_past = 1, .is_prefix_caching = 1, .is_chunked_prefill = 1},
     STANDARD,
     GQA_NEURON_TOKENGEN_PREFIX_CACHING},
    {{.release = GQA_NEURON_2_26,
      .has_past = 1,
      .is_chunked_prefill = 1,
      .flash_decoding_enabled = 1},
     STANDARD,
     GQA_NEURON_PERFORM_CONTEXTED_PREFILL},
    {{.release = GQA_NEURON_2_26, .has_past = 1, .is_chunked_prefill = 1, .input_len = 1},
     STANDARD,
     TOKENGEN},
    {{.has_past = 1, .flash_decoding_enabled = 1}, STANDARD, GQA_NEURON_COMPUTE_FOR_FLASH_DECODING},
    {{.has_past = 0, .flash_decoding_enabled = 1}, STANDARD, ENCODE},
};

static gqa_neuron_route_input step_input(const struct step *step)
{
    gqa_neuron_route_input in = step->in;

    in.input_len = in.input_len == 0 ? 16 : in.input_len;
    return in;
}

static void route_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        const gqa_neuron_route_input in = step_input(&steps[i]);
        gqa_neuron_route got;

        memset(&got, 0x5a, sizeof got);
        assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
        if (got.path != steps[i].path || got.operation != steps[i].operation) {
            fail_msg("row %zu: %s, %s; it must be %s, %s", i, gqa_neuron_path_name(got.path),
                     gqa_neuron_operation_name(got.operation), gqa_neuron_path_name(steps[i].path),
                     gqa_neuron_operation_name(steps[i].operation));
        }
    }
}

/* What the model takes a call for goes by its length alone. */
static void phases(void **state)
{
    static const struct {
        int32_t input_len, speculation_length, context_encoding, speculation;
    } rows[] = {
        {16, 0, 1, 0}, {1, 0, 0, 0}, {5, 5, 0, 1}, {4, 5, 1, 0}, {6, 5, 1, 0}, {1, 1, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const gqa_neuron_route_input in = {.input_len = rows[i].input_len,
                                           .speculation_length = rows[i].speculation_length};
        gqa_neuron_route got;

        assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
        assert_int_equal(got.is_context_encoding, rows[i].context_encoding);
        assert_int_equal(got.is_for_speculation, rows[i].speculation);
        assert_int_equal(got.is_token_gen, 0);
    }
}

static void losses(void **state)
{
    gqa_neuron_route_input in = {.input_len = 16, .attention_chunk_size = 64, .sliding_window = 8};
    gqa_neuron_route got;

    (void)state;
    assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
    assert_int_equal(got.chunk_dropped, 0);
    assert_int_equal(got.window_ignored, 1);
    in.sliding_window = 0;
    assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
    assert_int_equal(got.window_ignored, 0);
    in.sliding_window = 1;
    assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
    assert_int_equal(got.window_ignored, 1);
    in.seq_len = 64;
    assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
    assert_int_equal(got.chunk_dropped, 1);
    assert_int_equal(got.window_ignored, 0);
    in.has_past = 1;
    assert_int_equal(gqa_neuron_find_route(&in, &got, NULL), GQA_OK);
    assert_int_equal(got.is_token_gen, 1);
}

/* --- names --------------------------------------------------------------------------------------
 */

static void names(void **state)
{
    (void)state;
    assert_string_equal(gqa_neuron_strategy_name(GQA_NEURON_STRATEGY_NONE), "NONE");
    assert_string_equal(gqa_neuron_strategy_name(GQA_NEURON_STRATEGY_SLIDING_WINDOW_KERNEL),
                        "SLIDING_WINDOW_KERNEL");
    assert_string_equal(gqa_neuron_strategy_name((gqa_neuron_flash_strategy)6), "unknown");
    assert_string_equal(gqa_neuron_strategy_name((gqa_neuron_flash_strategy)-1), "unknown");
    assert_string_equal(gqa_neuron_path_name(STANDARD), "standard_causal_attention_forward");
    assert_string_equal(gqa_neuron_path_name(WINDOWED), "windowed_attention_forward");
    assert_string_equal(gqa_neuron_path_name((gqa_neuron_path)4), "unknown");
    assert_string_equal(gqa_neuron_operation_name(ENCODE), "attention_context_encode");
    assert_string_equal(gqa_neuron_operation_name(GQA_NEURON_COMPUTE_FOR_FLASH_DECODING),
                        "compute_for_flash_decoding");
    assert_string_equal(gqa_neuron_operation_name((gqa_neuron_operation)10), "unknown");
}

/* --- arguments ----------------------------------------------------------------------------------
 */

/* A number of a struct set to a bad value. */
struct spoil {
    size_t at;
    int32_t bad;
    const char *field;
    gqa_status status;
};

#define IN(member)   offsetof(gqa_neuron_strategy_input, member)
#define CALL(member) offsetof(gqa_neuron_route_input, member)

static void strategy_arguments(void **state)
{
    static const struct spoil spoils[] = {
        {IN(release), 26, "release", GQA_ERR_ARG},
        {IN(release), 228, "release", GQA_ERR_ARG},
        {IN(attn_kernel_enabled), 3, "attn_kernel_enabled", GQA_ERR_ARG},
        {IN(attn_kernel_enabled), -1, "attn_kernel_enabled", GQA_ERR_ARG},
        {IN(logical_nc_config), -1, "logical_nc_config", GQA_ERR_ARG},
        {IN(cp_degree), -1, "cp_degree", GQA_ERR_ARG},
        {IN(strided), 2, "strided", GQA_ERR_ARG},
        {IN(sliding_window), -1, "sliding_window", GQA_ERR_ARG},
        {IN(head_dim), 0, "head_dim", GQA_ERR_ARG},
        {IN(q_len), 0, "q_len", GQA_ERR_ARG},
        {IN(has_attention_mask), -1, "has_attention_mask", GQA_ERR_ARG},
        {IN(trn1), 2, "trn1", GQA_ERR_ARG},
    };
    const gqa_neuron_strategy_input good = {229, AUTO, 2, 1, 0, 0, 64, 512, 1, 0};
    gqa_neuron_flash_strategy got;

    (void)state;
    assert_int_equal(gqa_neuron_strategy(&good, &got, &refusal), GQA_OK);
    refused(gqa_neuron_strategy(NULL, &got, &refusal), GQA_ERR_ARG, "input", "");
    refused(gqa_neuron_strategy(&good, NULL, &refusal), GQA_ERR_ARG, "strategy", "");
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        gqa_neuron_strategy_input in = good;
        memcpy((char *)&in + spoils[i].at, &spoils[i].bad, sizeof spoils[i].bad);
        refused(gqa_neuron_strategy(&in, &got, &refusal), spoils[i].status, spoils[i].field,
                spoils[i].field);
    }
}

static void route_arguments(void **state)
{
    static const struct spoil spoils[] = {
        {CALL(release), 1, "release", GQA_ERR_ARG},
        {CALL(attention_chunk_size), -1, "attention_chunk_size", GQA_ERR_ARG},
        {CALL(sliding_window), -1, "sliding_window", GQA_ERR_ARG},
        {CALL(cp_degree), -1, "cp_degree", GQA_ERR_ARG},
        {CALL(seq_len), -1, "seq_len", GQA_ERR_ARG},
        {CALL(input_len), 0, "input_len", GQA_ERR_ARG},
        {CALL(speculation_length), -1, "speculation_length", GQA_ERR_ARG},
        {CALL(has_past), 2, "has_past", GQA_ERR_ARG},
        {CALL(windowed_context_encoding), 2, "windowed_context_encoding", GQA_ERR_ARG},
        {CALL(windowed_context_encoding), 1, "windowed_context_encoding", GQA_ERR_UNSUPPORTED},
        {CALL(is_prefix_caching), 2, "is_prefix_caching", GQA_ERR_ARG},
        {CALL(is_chunked_prefill), 2, "is_chunked_prefill", GQA_ERR_ARG},
        {CALL(flash_decoding_enabled), 2, "flash_decoding_enabled", GQA_ERR_ARG},
        {CALL(attn_block_tkg_kernel), 2, "attn_block_tkg_kernel", GQA_ERR_ARG},
        {CALL(attn_block_cte_kernel), 2, "attn_block_cte_kernel", GQA_ERR_ARG},
        {CALL(attn_tkg_builtin_kernel), 2, "attn_tkg_builtin_kernel", GQA_ERR_ARG},
        {CALL(attn_tkg_nki_kernel), 2, "attn_tkg_nki_kernel", GQA_ERR_ARG},
    };
    const gqa_neuron_route_input good = {.release = GQA_NEURON_2_26, .input_len = 16};
    const gqa_neuron_route_input later = {.input_len = 16, .is_chunked_prefill = 1};
    gqa_neuron_route got;

    (void)state;
    assert_int_equal(gqa_neuron_find_route(&good, &got, &refusal), GQA_OK);
    refused(gqa_neuron_find_route(NULL, &got, &refusal), GQA_ERR_ARG, "input", "");
    refused(gqa_neuron_find_route(&good, NULL, &refusal), GQA_ERR_ARG, "route", "");
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        gqa_neuron_route_input in = good;
        memcpy((char *)&in + spoils[i].at, &spoils[i].bad, sizeof spoils[i].bad);
        refused(gqa_neuron_find_route(&in, &got, &refusal), spoils[i].status, spoils[i].field,
                spoils[i].field);
    }
    refused(gqa_neuron_find_route(&later, &got, &refusal), GQA_ERR_UNSUPPORTED,
            "is_chunked_prefill", "release 229");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strategy_table),
        cmocka_unit_test(strategy_refusal),
        cmocka_unit_test(route_table),
        cmocka_unit_test(phases),
        cmocka_unit_test(losses),
        cmocka_unit_test(names),
        cmocka_unit_test(strategy_arguments),
        cmocka_unit_test(route_arguments),
    };
    return RUN_TESTS(argc, argv, tests);
}
