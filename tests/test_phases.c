/* SPDX-License-Identifier: Apache-2.0 */
/* test_phases.c - a layer with two sets of projections: in each phase the bits of a layer that has
 * that set alone. Every backend, storage and layout; prompts and steps in one call; the phase given
 * by name; either set alone; in pieces; in place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/weight_set.h"

enum { HIDDEN = 20, HQ = 6, HKV = 2, D = 10, B = 5, T = 3, MOST = 8 };

/* The layer with both sets, and those that have one of them in all phases. */
enum { BOTH, CTE, TKG, LAYERS };

struct trio {
    const char *name;
    struct weight_set set;
    gqa_layer *layer[LAYERS];
    gqa_cache *cache[LAYERS]; /* sequences 0, 2 and 4 of B have past tokens */
    float x[B * MOST * HIDDEN];
};

/* What a call gives, tokens of a batch entry side by side. */
struct result {
    float hidden[B][T * HIDDEN], attn[B][T * HQ * D];
    float k[B][HKV * T * D], v[B][HKV * T * D];
};

/* Tensor i of the first set, and that of the second. */
static gqa_tensor *first_of(gqa_weights *w, int i)
{
    gqa_tensor *const all[] = {&w->wq,       &w->bq,         &w->wk,       &w->bk,
                               &w->wv,       &w->bv,         &w->wqkv,     &w->bqkv,
                               &w->wo,       &w->bo,         &w->wq_scale, &w->wk_scale,
                               &w->wv_scale, &w->wqkv_scale, &w->wo_scale};
    return all[i];
}

static gqa_tensor *second_of(gqa_weights *w, int i)
{
    return &w->tkg_wq + i; /* they lie in this order */
}

enum { PAIRS = 15 };
_Static_assert(offsetof(gqa_weights, tkg_wo_scale) ==
                   offsetof(gqa_weights, tkg_wq) + (PAIRS - 1) * sizeof(gqa_tensor),
               "the second set lies together");

static void open_layer(struct trio *trio, int which, const gqa_weights *weights)
{
    gqa_cache_options options;
    gqa_error err = {0};

    if (gqa_create(&trio->layer[which], &trio->set.config, weights, NULL, &err) != GQA_OK) {
        fail_msg("%s: %s", trio->name, err.message);
    }
    gqa_cache_options_init(&options, trio->layer[which]);
    options.max_sequences = B;
    options.max_tokens = MOST;
    options.page_size = 16;
    assert_int_equal(gqa_cache_create(&trio->cache[which], trio->layer[which], &options, NULL),
                     GQA_OK);
}

static void open_trio(struct trio *trio, const char *name, void (*change)(struct weight_set *set))
{
    uint64_t seed = 9;
    gqa_weights single;

    memset(trio, 0, sizeof *trio);
    trio->name = name;
    weight_set_open(&trio->set, name);
    trio->set.config.v_head_dim = D;
    trio->set.config.isa = GQA_ISA_AUTO;
    trio->set.tkg_qkv = trio->set.tkg_output = true;
    if (change != NULL) {
        change(&trio->set);
    }
    skip_refused(&trio->set.config);
    weight_set_fill(&trio->set);
    open_layer(trio, BOTH, &trio->set.weights);
    for (int which = CTE; which <= TKG; which++) {
        single = trio->set.weights;
        for (int i = 0; i < PAIRS; i++) {
            if (which == TKG && second_of(&single, i)->data != NULL) {
                *first_of(&single, i) = *second_of(&single, i);
            }
            second_of(&single, i)->data = NULL;
        }
        open_layer(trio, which, &single);
    }
    random_floats(&seed, trio->x, B * MOST * HIDDEN, 1.0f);
}

static void close_trio(struct trio *trio)
{
    for (int which = 0; which < LAYERS; which++) {
        gqa_cache_destroy(&trio->cache[which]);
        gqa_destroy(&trio->layer[which]);
    }
    weight_set_free(&trio->set);
}

/* Every entry's n tokens, from the given one on, in a call of this layer; more->batch: a flat one.
 */
static void run(struct trio *trio, int which, const gqa_inputs *more, int n, struct result *result)
{
    const int flat = more->batch > 0, outer = flat ? 1 : B, all = flat ? B * n : n;
    gqa_inputs in = *more;
    gqa_output out;
    gqa_error err = {0};
    static float hidden[B * T * HIDDEN], attn[B * T * HQ * D];
    static float k[B * HKV * T * D], v[B * HKV * T * D];

    memset(result, 0, sizeof *result);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(trio->x, GQA_F32, outer, all, HIDDEN);
    out.hidden_states = gqa_tensor_3d(hidden, GQA_F32, outer, all, HIDDEN);
    out.attn = gqa_tensor_4d(attn, GQA_F32, outer, all, HQ, D);
    out.present_key_value.k = gqa_tensor_4d(k, GQA_F32, outer, HKV, all, D);
    out.present_key_value.v = gqa_tensor_4d(v, GQA_F32, outer, HKV, all, D);
    if (gqa_forward(trio->layer[which], trio->cache[which], &in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s, layer %d: %s", trio->name, which, err.message);
    }
    for (int b = 0; b < B; b++) {
        memcpy(result->hidden[b], hidden + b * n * HIDDEN, (size_t)(n * HIDDEN) * sizeof(float));
        memcpy(result->attn[b], attn + b * n * HQ * D, (size_t)(n * HQ * D) * sizeof(float));
        for (int h = 0; h < HKV; h++) {
            const int from = flat ? (h * B + b) * n * D : (b * HKV + h) * n * D;
            memcpy(result->k[b] + h * n * D, k + from, (size_t)(n * D) * sizeof(float));
            memcpy(result->v[b] + h * n * D, v + from, (size_t)(n * D) * sizeof(float));
        }
    }
}

static bool same(const struct result *a, const struct result *b, int entry)
{
    return memcmp(a->hidden[entry], b->hidden[entry], sizeof a->hidden[0]) == 0 &&
           memcmp(a->attn[entry], b->attn[entry], sizeof a->attn[0]) == 0 &&
           memcmp(a->k[entry], b->k[entry], sizeof a->k[0]) == 0 &&
           memcmp(a->v[entry], b->v[entry], sizeof a->v[0]) == 0;
}

/* Past tokens for every other sequence: a prompt, made with the first set by all. */
static void fill_past(struct trio *trio)
{
    static const int32_t sequences[B] = {0, -1, 2, -1, 4};
    struct result result[LAYERS];
    gqa_inputs in;

    gqa_inputs_init(&in);
    in.sequences = sequences;
    for (int which = 0; which < LAYERS; which++) { /* the second layer's own set, elsewhere */
        gqa_layer *const own = trio->layer[which];
        trio->layer[which] = which == TKG ? trio->layer[CTE] : own;
        run(trio, which, &in, T, &result[which]);
        trio->layer[which] = own;
    }
    for (int b = 0; b < B; b += 2) {
        if (!same(&result[BOTH], &result[CTE], b)) {
            fail_msg("%s: the prompt of entry %d", trio->name, b);
        }
    }
}

/* Prompts and steps in one call, padded and flat; then everything by the phase that is named. */
static void compare(struct trio *trio, int n)
{
    static struct result result[LAYERS];
    int32_t begin[B + 1];
    gqa_inputs in;

    fill_past(trio);
    for (int b = 0; b <= B; b++) {
        begin[b] = b * n;
    }
    for (int way = 0; way < 6; way++) {
        const int phase = way % 3;
        gqa_inputs_init(&in);
        in.phase = (gqa_phase)phase;
        in.row_begin = way < 3 ? NULL : begin;
        in.batch = way < 3 ? 0 : B;
        for (int which = 0; which < LAYERS; which++) {
            run(trio, which, &in, n, &result[which]);
        }
        for (int b = 0; b < B; b++) {
            const bool past = b % 2 == 0;
            const bool tkg = phase == GQA_PHASE_AUTO ? past : phase == GQA_PHASE_TKG;
            if (!same(&result[BOTH], &result[tkg ? TKG : CTE], b)) {
                fail_msg("%s, phase %d: entry %d is not that of its own set", trio->name, phase, b);
            }
            if (same(&result[BOTH], &result[tkg ? CTE : TKG], b)) {
                fail_msg("%s, phase %d: entry %d: the sets are the same", trio->name, phase, b);
            }
        }
        for (int which = 0; which < LAYERS; which++) { /* forget the call */
            for (int b = 0; b < B; b++) {
                assert_int_equal(
                    gqa_cache_truncate(trio->cache[which], b, b % 2 == 0 ? T : 0, NULL), GQA_OK);
            }
        }
    }
}

/* --- the layers --------------------------------------------------------------------------------
 */

static const char *const layouts[] = {"biases", "fused",        "grouped biases", "v is k",
                                      "sinks",  "element gate", "tail gate",      "rms norms"};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static void compare_layouts(void (*change)(struct weight_set *set), const char *const *names,
                            int count)
{
    static struct trio trio;

    for (int i = 0; i < count; i++) {
        open_trio(&trio, names[i], change);
        compare(&trio, 1 + i % T);
        close_trio(&trio);
    }
}

static void backend_cpu(void **state)
{
    (void)state;
    compare_layouts(NULL, layouts, LAYOUTS);
}

static void bf16(struct weight_set *set)
{
    set->config.numerics = GQA_NUMERICS_BF16;
}

static void numerics_bf16(void **state)
{
    (void)state;
    compare_layouts(bf16, layouts, LAYOUTS);
}

static void reference(struct weight_set *set)
{
    set->config.backend = GQA_BACKEND_REFERENCE;
    set->config.reference_f64 = 1; /* sgemm may go by the number of tokens */
}

static void backend_reference(void **state)
{
    (void)state;
    compare_layouts(reference, layouts, LAYOUTS);
}

static void neuron(struct weight_set *set)
{
    set->config.backend = GQA_BACKEND_NEURON;
}

static void neuron_f32(struct weight_set *set)
{
    neuron(set);
    set->config.neuron_io = GQA_NEURON_IO_F32;
}

static void backend_neuron(void **state)
{
    static const char *const served[] = {"biases", "fused biases", "grouped biases", "rms norms"};

    (void)state;
    compare_layouts(neuron, served, 4);
    compare_layouts(neuron_f32, served, 4);
}

static void integers(void **state)
{
    static const char *const names[] = {"int8", "int8 fused gate", "integers",
                                        "integers fused gate"};

    (void)state;
    compare_layouts(NULL, names, 4);
    compare_layouts(reference, names, 4);
}

static void in_place_set(struct weight_set *set)
{
    set->weights.in_place = 1;
}

static void in_place(void **state)
{
    static const char *const names[] = {"biases", "grouped biases", "head gate", "integers"};

    (void)state;
    compare_layouts(in_place_set, names, 4);
}

/* Every query sees every key of the call: all keys are made first, phase by phase. */
static void both_ways(struct weight_set *set)
{
    set->config.bidirectional = 1;
}

static void bidirectional(void **state)
{
    (void)state;
    compare_layouts(both_ways, layouts, 2);
}

static void qkv_alone(struct weight_set *set)
{
    set->tkg_output = false;
}

static void output_alone(struct weight_set *set)
{
    set->tkg_qkv = false;
}

static void neuron_output_alone(struct weight_set *set)
{
    neuron(set);
    output_alone(set);
}

static void one_of_the_two(void **state)
{
    (void)state;
    compare_layouts(qkv_alone, layouts, 3);
    compare_layouts(output_alone, layouts, 3);
    compare_layouts(neuron_output_alone, layouts, 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backend_cpu),       cmocka_unit_test(numerics_bf16),
        cmocka_unit_test(backend_reference), cmocka_unit_test(backend_neuron),
        cmocka_unit_test(integers),          cmocka_unit_test(in_place),
        cmocka_unit_test(bidirectional),     cmocka_unit_test(one_of_the_two),
    };
    return RUN_TESTS(argc, argv, tests);
}
