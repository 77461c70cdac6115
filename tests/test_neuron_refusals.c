/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_refusals.c - what flash_fwd and cte refuse, in which words, and what lift_limits
 * lifts; their workspace; calls of nothing. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "support/host.h"
#include "support/neuron_operands.h"
#include "support/program.h"

/* A call that Neuron refuses. */
struct refusal {
    const char *name;
    gqa_neuron_profile profile;
    const struct neuron_sizes *sizes;
    void (*bend)(struct neuron_rig *rig);
    gqa_status status;
    const char *field, *words;
    bool lifted; /* lift_limits makes it run, with a warning */
};

static const struct neuron_sizes plain = {1, 512, 512, 2, 1, 16, GQA_BF16};
static const struct neuron_sizes b1_t128_k512_h1_1_d129 = {1, 128, 512, 1, 1, 129, GQA_BF16};
static const struct neuron_sizes b1_t128_k700_h1_1_d8 = {1, 128, 700, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t2048_k3072_h1_1_d4 = {1, 2048, 3072, 1, 1, 4, GQA_BF16};
static const struct neuron_sizes b1_t128_k512_h3_2_d8 = {1, 128, 512, 3, 2, 8, GQA_BF16};
static const struct neuron_sizes b1_t128_k128_h1_1_d129 = {1, 128, 128, 1, 1, 129, GQA_BF16};
static const struct neuron_sizes b27_t1_k1_h19_1_d1 = {27, 1, 1, 19, 1, 1, GQA_BF16};
static const struct neuron_sizes b1_t1_k131073_h1_1_d1 = {1, 1, 131073, 1, 1, 1, GQA_BF16};
static const struct neuron_sizes b1_t131073_k1_h1_1_d1 = {1, 131073, 1, 1, 1, 1, GQA_BF16};
static const struct neuron_sizes b1_t100_k100_h1_1_d8 = {1, 100, 100, 1, 1, 8, GQA_BF16};
static const struct neuron_sizes b1_t1_k0_h1_1_d1 = {1, 1, 0, 1, 1, 1, GQA_BF16};

static void bend_nothing(struct neuron_rig *rig)
{
    (void)rig;
}

static void bend_wcte_128(struct neuron_rig *rig)
{
    rig->call.windowed_context_encoding = 1;
    rig->call.window = 128;
}

static void bend_wcte_100(struct neuron_rig *rig)
{
    rig->call.windowed_context_encoding = 1;
    rig->call.window = 100;
    rig->call.lift_limits = 1;
}

static void bend_wcte_226(struct neuron_rig *rig)
{
    rig->call.windowed_context_encoding = 1;
    rig->call.window = 256;
    rig->call.release = GQA_NEURON_2_26;
}

static void bend_release_229(struct neuron_rig *rig)
{
    rig->call.release = GQA_NEURON_2_29;
}

static void bend_release_226(struct neuron_rig *rig)
{
    rig->call.release = GQA_NEURON_2_26;
}

static void bend_release_228(struct neuron_rig *rig)
{
    rig->call.release = (gqa_neuron_release)228;
}

static void bend_right_window(struct neuron_rig *rig)
{
    rig->call.window = 8;
    rig->call.right_window = 1;
}

static void bend_bidirectional(struct neuron_rig *rig)
{
    rig->call.bidirectional = 1;
}

static void bend_bidirectional_window(struct neuron_rig *rig)
{
    rig->call.bidirectional = 1;
    rig->call.window = 8;
}

static void bend_bidirectional_cp(struct neuron_rig *rig)
{
    rig->call.bidirectional = 1;
    rig->call.cp_degree = 2;
}

static void bend_seq_tile_256(struct neuron_rig *rig)
{
    rig->call.seq_tile = 256;
}

static void bend_seq_tile_700(struct neuron_rig *rig)
{
    rig->call.seq_tile = 700;
}

static void bend_core_tile(struct neuron_rig *rig)
{
    rig->call.attn_core_tile = -1;
}

static void bend_prior(struct neuron_rig *rig)
{
    rig->call.k_prior = rig->call.k;
    rig->call.v_prior = rig->call.v;
}

static void bend_cp_33(struct neuron_rig *rig)
{
    rig->call.cp_degree = 33;
}

static void bend_cp_offset(struct neuron_rig *rig)
{
    rig->call.cp_degree = 2;
    rig->call.cp_offset = 1;
}

static void bend_cp_rank(struct neuron_rig *rig)
{
    rig->call.cp_degree = 2;
    rig->call.cp_strided = 1;
    rig->call.cp_offset = 2;
}

static void bend_cp_none(struct neuron_rig *rig)
{
    rig->call.cp_strided = 1;
}

static void bend_scale_window(struct neuron_rig *rig)
{
    rig->call.scale = 0.5f;
    rig->call.window = 8;
}

static void bend_scale_nan(struct neuron_rig *rig)
{
    rig->call.scale = NAN;
}

static void bend_window(struct neuron_rig *rig)
{
    rig->call.window = -1;
}

static void bend_prior_used(struct neuron_rig *rig)
{
    bend_prior(rig);
    rig->call.prior_used = 513;
}

static void bend_one_bound(struct neuron_rig *rig)
{
    rig->call.bound_max = neuron_rig_memory(rig, rig->call.q.shape[1], sizeof(int32_t));
}

static void bend_bounds(struct neuron_rig *rig)
{
    int32_t *const bounds = neuron_rig_memory(rig, rig->call.q.shape[1], sizeof *bounds);

    for (int64_t t = 0; t < rig->call.q.shape[1]; t++) {
        bounds[t] = (int32_t)rig->call.k.shape[1];
    }
    rig->call.bound_max = bounds;
    rig->call.bound_min = neuron_rig_memory(rig, rig->call.q.shape[1], sizeof(int32_t));
}

static void bend_bounds_prior(struct neuron_rig *rig)
{
    bend_bounds(rig);
    bend_prior(rig);
}

static void bend_bounds_below(struct neuron_rig *rig)
{
    bend_bounds(rig);
    ((int32_t *)(uintptr_t)rig->call.bound_min)[3] = -1;
}

static void bend_key_format(struct neuron_rig *rig)
{
    const struct neuron_shape k = {GQA_F32, 1, 512, 1, 16};
    neuron_rig_fill(rig, &rig->call.k, &k, 1.0f);
}

static void bend_profile(struct neuron_rig *rig)
{
    rig->call.profile = GQA_NEURON_NO_PROFILE;
}

static void bend_accumulation(struct neuron_rig *rig)
{
    rig->call.accumulation = (gqa_neuron_accumulation)2;
}

static void bend_no_value(struct neuron_rig *rig)
{
    rig->call.v.data = NULL;
}

static void bend_neg_max(struct neuron_rig *rig)
{
    rig->output.neg_max = rig->call.q;
}

static void bend_overlap(struct neuron_rig *rig)
{
    rig->output.out = rig->call.q;
}

static void bend_sinks_overlap(struct neuron_rig *rig)
{
    float *const both = neuron_rig_memory(rig, 2 * 128 * 4, sizeof *both);

    rig->output.neg_max = gqa_tensor_4d(both, GQA_F32, 1, 2, 128, 4);
    rig->call.sinks = gqa_tensor_1d(both + 1022, GQA_F32, 2);
}

static void bend_lift_limits(struct neuron_rig *rig)
{
    rig->call.lift_limits = 2;
}

static void bend_bidirectional_2(struct neuron_rig *rig)
{
    rig->call.bidirectional = 2;
}

static void bend_wcte_flag(struct neuron_rig *rig)
{
    rig->call.windowed_context_encoding = -1;
}

static void bend_strided_flag(struct neuron_rig *rig)
{
    rig->call.cp_degree = 2;
    rig->call.cp_strided = 64;
}

#define FLASH GQA_NEURON_FLASH_FWD
#define CTE   GQA_NEURON_CTE

static const struct refusal refusals[] = {
    {"head_dim 129", FLASH, &b1_t128_k512_h1_1_d129, bend_nothing, GQA_ERR_UNSUPPORTED, "call.q",
     "head_dim is 129; it must be at most 128", true},
    {"700 keys", FLASH, &b1_t128_k700_h1_1_d8, bend_nothing, GQA_ERR_UNSUPPORTED, "call.k",
     "number of keys is 700; it must be a multiple of seq_tile", true},
    {"3072 keys", FLASH, &b1_t2048_k3072_h1_1_d4, bend_nothing, GQA_ERR_UNSUPPORTED, "call.k",
     "number of keys is 3072", true},
    {"window 128 of wcte", FLASH, &plain, bend_wcte_128, GQA_ERR_UNSUPPORTED, "call.window",
     "window is 128; it must be a multiple of 256", true},
    {"window 100 of wcte", FLASH, &plain, bend_wcte_100, GQA_ERR_UNSUPPORTED, "call.window",
     "is 100; with windowed context encoding it must be a multiple of 128", false},
    {"wcte of 2.26", FLASH, &plain, bend_wcte_226, GQA_ERR_UNSUPPORTED,
     "call.windowed_context_encoding", "2.26 has none", false},
    {"release 2.29", FLASH, &plain, bend_release_229, GQA_ERR_UNSUPPORTED, "call.release",
     "no longer calls flash_fwd", false},
    {"release 2.28", FLASH, &plain, bend_release_228, GQA_ERR_ARG, "call.release",
     "is 228; it must be 0, 226, 227 or 229", false},
    {"right window", FLASH, &plain, bend_right_window, GQA_ERR_UNSUPPORTED, "call.right_window",
     "asserts right_window_size < 0", false},
    {"bidirectional", FLASH, &plain, bend_bidirectional, GQA_ERR_UNSUPPORTED, "call.bidirectional",
     "must be 0", false},
    {"seq_tile 256", FLASH, &plain, bend_seq_tile_256, GQA_ERR_UNSUPPORTED, "call.seq_tile",
     "is 256; it must be a multiple of 512", false},
    {"seq_tile 700", FLASH, &plain, bend_seq_tile_700, GQA_ERR_UNSUPPORTED, "call.seq_tile",
     "is 700", false},
    {"attn_core_tile", FLASH, &plain, bend_core_tile, GQA_ERR_ARG, "call.attn_core_tile",
     "is -1; it must be at least 1", false},
    {"a prefix", FLASH, &plain, bend_prior, GQA_ERR_ARG, "call.k_prior",
     "profile flash_fwd has no such argument", false},
    {"context parallelism", FLASH, &plain, bend_cp_33, GQA_ERR_ARG, "call.cp_degree",
     "profile flash_fwd has no such argument", false},
    {"one bound", FLASH, &plain, bend_one_bound, GQA_ERR_ARG, "call.bound_max",
     "profile flash_fwd has no such argument", false},
    {"a softmax cache", FLASH, &plain, bend_neg_max, GQA_ERR_ARG, "output.neg_max",
     "profile flash_fwd has no such argument", false},
    {"no profile", FLASH, &plain, bend_profile, GQA_ERR_ARG, "call.profile",
     "is 0; it must name a profile", false},
    {"accumulation", FLASH, &plain, bend_accumulation, GQA_ERR_ARG, "call.accumulation",
     "is 2; it must be 0 or 1", false},
    {"lift_limits 2", CTE, &plain, bend_lift_limits, GQA_ERR_ARG, "call.lift_limits",
     "it must be 0 or 1", false},
    {"bidirectional 2", CTE, &plain, bend_bidirectional_2, GQA_ERR_ARG, "call.bidirectional",
     "is 2; it must be 0 or 1", false},
    {"windowed -1", FLASH, &plain, bend_wcte_flag, GQA_ERR_ARG, "call.windowed_context_encoding",
     "is -1; it must be 0 or 1", false},
    {"strided 64", CTE, &plain, bend_strided_flag, GQA_ERR_ARG, "call.cp_strided",
     "is 64; it must be 0 or 1", false},
    {"neg_max on sinks", CTE, &plain, bend_sinks_overlap, GQA_ERR_ARG, "output.neg_max",
     "shares memory with an input", false},
    {"a scale that is NaN", FLASH, &plain, bend_scale_nan, GQA_ERR_ARG, "call.scale",
     "it must be finite", false},
    {"a negative window", FLASH, &plain, bend_window, GQA_ERR_ARG, "call.window",
     "is -1; it must be at least 0", false},
    {"keys of another format", FLASH, &plain, bend_key_format, GQA_ERR_ARG, "call.k",
     "it must be call.q's", false},
    {"no values", FLASH, &plain, bend_no_value, GQA_ERR_ARG, "call.v",
     "is absent; profile flash_fwd needs it", false},
    {"out on q", FLASH, &plain, bend_overlap, GQA_ERR_ARG, "output.out",
     "shares memory with an input", false},
    {"3 heads on 2", FLASH, &b1_t128_k512_h3_2_d8, bend_nothing, GQA_ERR_SHAPE, "call.k",
     "has 2 heads; they must divide call.q's 3", false},
    {"head_dim 129", CTE, &b1_t128_k128_h1_1_d129, bend_nothing, GQA_ERR_UNSUPPORTED, "call.q",
     "head_dim is 129; it must be at most 128", true},
    {"513 heads", CTE, &b27_t1_k1_h19_1_d1, bend_nothing, GQA_ERR_UNSUPPORTED, "call.q",
     "batch times heads is 513; it must be at most 512", true},
    {"131073 keys", CTE, &b1_t1_k131073_h1_1_d1, bend_nothing, GQA_ERR_UNSUPPORTED, "call.k",
     "number of keys is 131073", true},
    {"131073 queries", CTE, &b1_t131073_k1_h1_1_d1, bend_nothing, GQA_ERR_UNSUPPORTED, "call.q",
     "number of queries is 131073", true},
    {"33 ranks", CTE, &plain, bend_cp_33, GQA_ERR_UNSUPPORTED, "call.cp_degree",
     "cp_degree is 33; it must be at most 32", true},
    {"a scaled window", CTE, &plain, bend_scale_window, GQA_ERR_UNSUPPORTED, "call.scale",
     "scale == 1.0", true},
    {"bounds of 100 queries", CTE, &b1_t100_k100_h1_1_d8, bend_bounds, GQA_ERR_UNSUPPORTED,
     "call.bound_min", "packed queries is 100; it must be a multiple of 128", true},
    {"bounds with a prefix", CTE, &plain, bend_bounds_prior, GQA_ERR_UNSUPPORTED, "call.bound_min",
     "is given with a prefix", false},
    {"a bound below 0", CTE, &plain, bend_bounds_below, GQA_ERR_ARG, "call.bound_min",
     "row 3 has bounds -1, 512", false},
    {"one bound", CTE, &plain, bend_one_bound, GQA_ERR_ARG, "call.bound_min", "both or neither",
     false},
    {"prior_used", CTE, &plain, bend_prior_used, GQA_ERR_ARG, "call.prior_used",
     "is 513; it must be 0 .. 512", false},
    {"release 2.26", CTE, &plain, bend_release_226, GQA_ERR_UNSUPPORTED, "call.release",
     "attention_cte is of release 2.29", false},
    {"right window", CTE, &plain, bend_right_window, GQA_ERR_UNSUPPORTED, "call.right_window",
     "attention_cte has none", false},
    {"bidirectional window", CTE, &plain, bend_bidirectional_window, GQA_ERR_UNSUPPORTED,
     "call.bidirectional", "is 1 with call.window 8", false},
    {"bidirectional ranks", CTE, &plain, bend_bidirectional_cp, GQA_ERR_UNSUPPORTED,
     "call.bidirectional", "is 1 with call.cp_degree 2", false},
    {"rows beyond the keys", CTE, &plain, bend_cp_offset, GQA_ERR_ARG, "call.cp_offset",
     "is 1; with 512 queries it may be at most 0", false},
    {"a rank too far", CTE, &plain, bend_cp_rank, GQA_ERR_ARG, "call.cp_offset",
     "is 2; strided, it is the rank, below call.cp_degree 2", false},
    {"strided without ranks", CTE, &plain, bend_cp_none, GQA_ERR_ARG, "call.cp_degree",
     "is 0 although", false},
    {"seq_tile", CTE, &plain, bend_seq_tile_700, GQA_ERR_ARG, "call.seq_tile",
     "profile cte has no such argument", false},
    {"no keys", CTE, &b1_t1_k0_h1_1_d1, bend_nothing, GQA_ERR_SHAPE, "call.k", "section_len > 0",
     false},
};
/* Refused in these words; with lift_limits it runs and says so, or is refused as before. */
static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *const refusal = &refusals[i];
        struct neuron_rig rig;

        print_message("%s: %s\n", refusal->profile == CTE ? "cte" : "flash_fwd", refusal->name);
        neuron_rig_open(&rig, refusal->profile, i);
        neuron_operands_fill(&rig, refusal->sizes);
        refusal->bend(&rig);
        neuron_rig_refused(&rig, refusal->status, refusal->field, refusal->words);
        rig.call.lift_limits |= 1; /* 2 becomes 3 */
        if (refusal->lifted && refusal->sizes->tokens <= 1000) {
            neuron_rig_run(&rig, NULL);
            assert_true(neuron_rig_warnings(&rig, GQA_NEURON_WARN_LIMIT_LIFTED) > 0);
        } else if (!refusal->lifted) {
            neuron_rig_refused(&rig, refusal->status, refusal->field, refusal->words);
        }
        neuron_rig_close(&rig);
    }
}

/* --- workspace ---------------------------------------------------------------------------------
 */

static void test_workspace(void **state)
{
    struct neuron_rig rig;
    struct host host;
    gqa_runtime runtime;
    gqa_error err;
    size_t size = 0;
    unsigned char *memory;

    (void)state;
    neuron_rig_open(&rig, GQA_NEURON_CTE, 7);
    neuron_operands_fill(&rig, &plain);
    neuron_rig_run(&rig, NULL);
    assert_int_equal(gqa_neuron_workspace_size(&rig.call, &rig.output, NULL, &size, &err), GQA_OK);
    assert_true(size > 0 && size % 64 == 0);
    assert_int_equal(gqa_neuron_workspace_size(&rig.call, &rig.output, NULL, NULL, &err),
                     GQA_ERR_ARG);
    memory = aligned_alloc(64, size + 64);
    assert_non_null(memory);
    memset(memory, 0xa5, size + 64);
    assert_int_equal(gqa_neuron_attention(&rig.call, &rig.output, NULL, memory, size, &err),
                     GQA_OK);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(memory[size + i], 0xa5);
    }
    assert_int_equal(gqa_neuron_attention(&rig.call, &rig.output, NULL, memory, size - 1, &err),
                     GQA_ERR_WORKSPACE);
    assert_int_equal(gqa_neuron_attention(&rig.call, &rig.output, NULL, memory + 8, size, &err),
                     GQA_ERR_ARG);
    assert_int_equal(gqa_neuron_attention(&rig.call, &rig.output, NULL, NULL, size, &err),
                     GQA_ERR_ARG);
    free(memory);

    host_init(&host);
    runtime = host_runtime(&host);
    assert_int_equal(gqa_neuron_attention(&rig.call, &rig.output, &runtime, NULL, 0, &err), GQA_OK);
    assert_int_equal(host.calls, 1);
    assert_int_equal(host.live, 0);
    host.fail_at = 1;
    assert_int_equal(gqa_neuron_attention(&rig.call, &rig.output, &runtime, NULL, 0, &err),
                     GQA_ERR_NOMEM);
    assert_int_equal(host.live, 0);
    neuron_rig_close(&rig);
}

/* No rows, no batch: nothing to do. */
static void test_nothing(void **state)
{
    const struct neuron_sizes empty[] = {{1, 0, 512, 2, 1, 8, GQA_BF16},
                                         {0, 5, 512, 2, 1, 8, GQA_BF16}};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct neuron_rig rig;

        neuron_rig_open(&rig, i % 2 == 0 ? GQA_NEURON_FLASH_FWD : GQA_NEURON_CTE, 8);
        neuron_operands_fill(&rig, &empty[i / 2]);
        neuron_rig_run(&rig, NULL);
        assert_int_equal(rig.output.tiles, 0);
        neuron_rig_close(&rig);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_workspace),
        cmocka_unit_test(test_nothing),
    };
    return RUN_TESTS(argc, argv, tests);
}
