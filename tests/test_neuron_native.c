/* SPDX-License-Identifier: Apache-2.0 */
/* test_neuron_native.c - the framework's paths of Neuron (native_prefill, native_prefix,
 * native_tkg) against a plain twin, bit by bit, and against the definition of attention; what they
 * refuse, what they say; and the golden files against twins that are wrong in the usual ways. */
#include <string.h>

#include "support/fewer_cases.h"
#include "support/host.h"
#include "support/native_calls.h"
#include "support/program.h"
#include "support/random.h"

#define PREFILL GQA_NEURON_NATIVE_PREFILL
#define PREFIX  GQA_NEURON_NATIVE_PREFIX
#define TKG     GQA_NEURON_NATIVE_TKG

/* --- odd sizes ----------------------------------------------------------------------------------
 */

/* profile, B, T, K, hq, hkv, d, f32, sinks, divisor f32, mask, seen of 10, blind row */
static const struct native_options odd_sizes[] = {
    {PREFILL, 1, 1, 1, 1, 1, 1, false, false, false, 0, 0, -1},
    {PREFILL, 1, 129, 129, 2, 1, 20, false, true, false, 1, 5, 128}, /* one over a tile of rows */
    {PREFILL, 2, 131, 67, 3, 3, 7, false, false, false, 2, 4, 130},  /* K other than T */
    {PREFILL, 3, 5, 513, 6, 2, 128, false, true, false, 3, 8, 2},    /* one over a PSUM bank */
    {PREFILL, 2, 17, 33, 4, 1, 130, false, false, false, 1, 1, 0},   /* head_dim beyond kernels' */
    {PREFILL, 1, 40, 41, 5, 5, 96, false, false, true, 1, 6, -1},
    {PREFILL, 1, 65, 65, 2, 2, 80, true, true, false, 1, 5, 3},
    {PREFILL, 2, 9, 100, 2, 1, 33, true, false, true, 2, 5, 8},
    {PREFILL, 1, 3, 0, 2, 1, 8, false, true, false, 0, 0, -1},  /* no keys: the sink takes all */
    {PREFILL, 2, 0, 5, 2, 1, 8, false, false, false, 0, 0, -1}, /* no rows */
    {TKG, 1, 1, 1, 1, 1, 1, false, false, false, 0, 0, -1},
    {TKG, 3, 1, 97, 8, 2, 64, false, true, false, 1, 6, 0},
    {TKG, 2, 7, 61, 6, 3, 20, false, false, false, 1, 5, 4},
    {TKG, 2, 5, 129, 4, 2, 72, false, true, false, 2, 3, 2},
    {TKG, 2, 3, 40, 2, 1, 17, true, false, false, 3, 5, 1},
    {TKG, 1, 131, 9, 2, 1, 40, true, true, true, 1, 5, 7},
    {TKG, 2, 4, 0, 2, 1, 24, false, true, false, 1, 5, -1}, /* an empty cache */
    {PREFIX, 1, 13, 37, 4, 2, 64, false, false, false, 0, 0, -1},
    {PREFIX, 2, 129, 33, 2, 1, 20, false, true, false, 0, 0, -1},
    {PREFIX, 2, 11, 48, 3, 1, 50, false, false, false, 1, 5, 4},
    {PREFIX, 1, 6, 300, 2, 2, 128, true, true, false, 2, 5, -1},
};

static void odd(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof odd_sizes / sizeof odd_sizes[0]; i++) {
        struct native_call call;
        native_call_open(&call, &odd_sizes[i], 1000 + i);
        native_call_check(&call);
        native_call_close(&call);
    }
}

static int below(uint64_t *random, int n)
{
    return random_between(random, 0, n - 1);
}

/* Drawn ones. */
static void any_sizes(void **state)
{
    const gqa_neuron_profile profiles[] = {PREFILL, PREFIX, TKG};
    uint64_t random = 21;

    (void)state;
    for (int i = 0; i < fewer_cases(60); i++) {
        struct native_options o = {.profile = profiles[i % 3], .blind_row = -1};
        struct native_call call;

        o.batch = 1 + below(&random, 3);
        o.tokens = below(&random, 4) == 0 ? below(&random, 140) : below(&random, 12);
        o.keys = below(&random, 4) == 0 ? below(&random, 600) : below(&random, 70);
        o.hkv = 1 + below(&random, 3);
        o.hq = o.hkv * (1 + below(&random, 4));
        o.d = 1 + below(&random, below(&random, 3) == 0 ? 140 : 24);
        o.f32 = below(&random, 3) == 0;
        o.sinks = below(&random, 2) == 0;
        o.divisor_f32 = below(&random, 4) == 0;
        o.mask = below(&random, 4);
        o.seen = below(&random, 11);
        if (o.mask != 0 && o.tokens > 0) {
            o.blind_row = below(&random, o.tokens + 1) - 1;
        }
        native_call_open(&call, &o, 5000 + (uint64_t)i);
        native_call_check(&call);
        native_call_close(&call);
    }
}

/* --- one result, however it is run --------------------------------------------------------------
 */

static void threads_and_workspace(void **state)
{
    const struct native_options o = {PREFILL, 2, 150, 71, 4, 2, 19, false, true, false, 1, 5, 9};
    const size_t bytes = (size_t)(2 * 150 * 4 * 19) * sizeof(float);
    struct native_call call;
    struct host host;
    gqa_runtime runtime;
    float *alone, *many;

    (void)state;
    native_call_open(&call, &o, 77);
    alone = neuron_rig_run(&call.rig, NULL);
    runtime = host_start(&host, 5);
    many = neuron_rig_run(&call.rig, &runtime);
    assert_memory_equal(alone, many, bytes);
    assert_int_equal(host.live, 0);
    assert_int_equal(call.rig.output.tiles, 2 * 4 * 2); /* entries, heads, tiles of 128 rows */
    assert_int_equal(call.rig.output.madds, (int64_t)2 * 2 * 4 * 150 * 71 * 19);
    native_call_close(&call);
}

/* --- native_prefix is native_tkg that sees all of the prefix ------------------------------------
 */

static void prefix_sees_all(void **state)
{
    const struct native_options o = {TKG, 2, 9, 21, 4, 2, 48, false, false, false, 1, 5, -1};
    struct native_call call;
    float *tkg, *prefix;

    (void)state;
    native_call_open(&call, &o, 5);
    memset(call.prior_mask, 1, 2 * 9 * 21);
    for (int i = 0; i < 2 * 9 * 9; i++) {
        call.active_mask[i] = i % 9 <= i / 9 % 9;
    }
    neuron_rig_remask(&call.rig.call.prior_mask, call.prior_mask);
    neuron_rig_remask(&call.rig.call.active_mask, call.active_mask);
    tkg = neuron_rig_run(&call.rig, NULL);
    memset(call.prior_mask, 0, 2 * 9 * 21);
    neuron_rig_remask(&call.rig.call.prior_mask, call.prior_mask);
    call.rig.call.active_mask.data = NULL;
    call.rig.call.profile = GQA_NEURON_NATIVE_PREFIX;
    prefix = neuron_rig_run(&call.rig, NULL);
    assert_memory_equal(tkg, prefix, (size_t)(2 * 9 * 4 * 48) * sizeof *tkg);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_PRIOR_MASK_IGNORED), 1);
    native_call_close(&call);
}

/* --- rows that see nothing ----------------------------------------------------------------------
 */

/* All of 96 keys weigh bf16(1 / 96) = 0.01043701171875. One value of 200 among zeros makes it seen:
 * 2.08740234375, which bf16 rounds to 2.09375; 200 / 96 = 2.0833 would be 2.078125. */
static void blind_rows(void **state)
{
    const struct native_options o = {PREFILL, 1, 2, 96, 1, 1, 2, false, false, false, 1, 10, 1};
    struct native_call call;
    uint16_t *v;
    float *out;

    (void)state;
    native_call_open(&call, &o, 9);
    v = call.rig.call.v.data;
    for (int64_t i = 0; i < 96; i++) {
        v[i * call.rig.call.v.stride[1]] = i == 95 ? 0x4348 : 0; /* 200 */
    }
    out = neuron_rig_run(&call.rig, NULL);
    assert_true(out[2] == 2.09375f);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS), 1);
    native_call_close(&call);
}

/* With a sink the same row is exactly 0, and nothing is to be said. */
static void blind_rows_with_sink(void **state)
{
    const struct native_options o = {PREFILL, 1, 2, 96, 1, 1, 2, false, true, false, 1, 10, 1};
    struct native_call call;
    float *out;

    (void)state;
    native_call_open(&call, &o, 9);
    out = neuron_rig_run(&call.rig, NULL);
    assert_true(out[2] == 0.0f && out[3] == 0.0f);
    assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS), 0);
    native_call_close(&call);
}

/* --- what they say ------------------------------------------------------------------------------
 */

static void warnings(void **state)
{
    static const struct {
        struct native_options o;
        int dropped, prior_ignored, mask_ignored, blind;
    } cases[] = {
        {{PREFILL, 1, 3, 4, 1, 1, 4, false, true, false, 1, 5, -1}, 0, 0, 0, 0},
        {{PREFILL, 1, 3, 4, 1, 1, 4, false, false, false, 1, 10, 0}, 0, 0, 0, 1},
        {{TKG, 1, 3, 4, 1, 1, 4, false, true, false, 1, 5, 0}, 0, 0, 0, 0},
        {{TKG, 1, 3, 4, 1, 1, 4, false, false, false, 1, 10, 0}, 0, 0, 0, 1},
        {{TKG, 1, 1, 4, 1, 1, 4, false, true, false, 1, 5, -1}, 0, 0, 1, 0},
        {{TKG, 1, 1, 4, 1, 1, 4, false, false, false, 0, 0, -1}, 0, 0, 0, 0},
        {{PREFIX, 1, 3, 4, 1, 1, 4, false, true, false, 1, 5, -1}, 1, 1, 0, 0},
        {{PREFIX, 1, 3, 4, 1, 1, 4, false, false, false, 0, 0, -1}, 0, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct native_call call;
        native_call_open(&call, &cases[i].o, 3 + i);
        neuron_rig_run(&call.rig, NULL);
        assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_SINKS_DROPPED),
                         cases[i].dropped);
        assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_PRIOR_MASK_IGNORED),
                         cases[i].prior_ignored);
        assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_MASK_IGNORED),
                         cases[i].mask_ignored);
        assert_int_equal(neuron_rig_warnings(&call.rig, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS),
                         cases[i].blind);
        native_call_close(&call);
    }
}

/* --- what they refuse ---------------------------------------------------------------------------
 */

static void no_prior(gqa_neuron_call *call)
{
    call->k_prior.data = NULL;
    call->v_prior.data = NULL;
    call->prior_mask.data = NULL;
}

static void short_keys(gqa_neuron_call *call)
{
    call->k.shape[1] = call->v.shape[1] = 2;
}

static void a_window(gqa_neuron_call *call)
{
    call->window = 4;
}

static void a_scale(gqa_neuron_call *call)
{
    call->scale = 0.5f;
}

static void another_type(gqa_neuron_call *call)
{
    call->k.dtype = GQA_F16;
}

static void wide_mask(gqa_neuron_call *call)
{
    call->prior_mask.shape[3]++;
}

static void refusals(void **state)
{
    static const struct {
        void (*change)(gqa_neuron_call *call);
        gqa_status status;
        const char *field, *words;
    } cases[] = {
        {no_prior, GQA_ERR_ARG, "call.k_prior", "native_tkg needs it"},
        {short_keys, GQA_ERR_SHAPE, "call.k", "those of the new tokens"},
        {a_window, GQA_ERR_ARG, "call.window", "has no such argument"},
        {a_scale, GQA_ERR_ARG, "call.scale", "has no such argument"},
        {another_type, GQA_ERR_ARG, "call.k", "it must be call.q's"},
        {wide_mask, GQA_ERR_SHAPE, "call.prior_mask", "shape"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct native_options o = {TKG, 2, 3, 4, 2, 1, 4, false, false, false, 1, 5, -1};
        struct native_call call;
        native_call_open(&call, &o, 3 + i);
        if (cases[i].change == no_prior) { /* a mask of prior keys that are not there */
            call.rig.call.prior_mask.data = NULL;
        }
        cases[i].change(&call.rig.call);
        neuron_rig_refused(&call.rig, cases[i].status, cases[i].field, cases[i].words);
        native_call_close(&call);
    }
}

/* k_prior [B, P, Hkv, D] as [B, Hkv, D, P], rows of which are further apart than they are long. */
static gqa_tensor turn_keys(struct neuron_rig *rig, const gqa_tensor *k)
{
    const int64_t b = k->shape[0], p = k->shape[1], h = k->shape[2], d = k->shape[3];
    const size_t size = k->dtype == GQA_BF16 ? 2 : 4;
    unsigned char *const data = neuron_rig_memory(rig, b * h * d * (p + 3), size);
    gqa_tensor turned = gqa_tensor_4d(data, k->dtype, b, h, d, p);

    turned.stride[3] = 1;
    turned.stride[2] = p + 3;
    turned.stride[1] = d * turned.stride[2];
    turned.stride[0] = h * turned.stride[1];
    for (int64_t i = 0; i < b * p * h * d; i++) {
        const int64_t at[4] = {i / (p * h * d), i / (h * d) % p, i / d % h, i % d};
        const int64_t from = at[0] * k->stride[0] + at[1] * k->stride[1] + at[2] * k->stride[2] +
                             at[3] * k->stride[3];
        const int64_t to =
            at[0] * turned.stride[0] + at[2] * turned.stride[1] + at[3] * turned.stride[2] + at[1];
        memcpy(data + (size_t)to * size, (const unsigned char *)k->data + (size_t)from * size,
               size);
    }
    return turned;
}

/* Feature 59: a cache that holds K transposed gives the bits of one that does not. */
static void keys_transposed(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        const bool f32 = i % 2 == 1;
        const struct native_options o = {i / 2 % 2 == 0 ? TKG : GQA_NEURON_NATIVE_PREFIX,
                                         2,
                                         3,
                                         37,
                                         4,
                                         2,
                                         i < 4 ? 20 : 130,
                                         f32,
                                         false,
                                         false,
                                         i / 2 % 2 == 0 ? 1 : 0,
                                         7,
                                         -1};
        const size_t bytes = (size_t)(o.batch * o.tokens * o.hq * o.d) * sizeof(float);
        struct native_call call;
        float *plain, *turned;
        native_call_open(&call, &o, 11 + (uint64_t)i);
        plain = neuron_rig_run(&call.rig, NULL);
        call.rig.call.k_prior = turn_keys(&call.rig, &call.rig.call.k_prior);
        neuron_rig_refused(&call.rig, GQA_ERR_SHAPE, "call.k_prior", "shape");
        call.rig.call.k_transposed = 1;
        turned = neuron_rig_run(&call.rig, NULL);
        assert_memory_equal(plain, turned, bytes);
        call.rig.call.k_transposed = 2;
        neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.k_transposed", "0 or 1");
        native_call_close(&call);
    }
}

/* Kernels and flash decoding have no such caches. */
static void keys_transposed_elsewhere(void **state)
{
    static const gqa_neuron_profile others[] = {GQA_NEURON_NATIVE_PREFILL, GQA_NEURON_CTE,
                                                GQA_NEURON_FLASH_FWD, GQA_NEURON_FLASH_DECODING};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const struct native_options o = {TKG, 1, 3, 5, 2, 1, 16, false, false, false, 0, 5, -1};
        struct native_call call;
        native_call_open(&call, &o, 3);
        call.rig.call.profile = others[i];
        call.rig.call.k_prior.data = call.rig.call.v_prior.data = NULL;
        call.rig.call.active_mask.data = NULL;
        call.rig.call.k_transposed = 1;
        neuron_rig_refused(&call.rig, GQA_ERR_ARG, "call.k_transposed", "has no such argument");
        native_call_close(&call);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd),
        cmocka_unit_test(any_sizes),
        cmocka_unit_test(threads_and_workspace),
        cmocka_unit_test(prefix_sees_all),
        cmocka_unit_test(blind_rows),
        cmocka_unit_test(blind_rows_with_sink),
        cmocka_unit_test(warnings),
        cmocka_unit_test(refusals),
        cmocka_unit_test(keys_transposed),
        cmocka_unit_test(keys_transposed_elsewhere),
    };
    return RUN_TESTS(argc, argv, tests);
}
