/* SPDX-License-Identifier: Apache-2.0 */
/* test_attend_errors.c - every field of gqa_attend spoilt: the error names it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/faults.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { B = 3, T = 3, K = 8, BLOCK_KEYS = 256 };

/* A call that is good before it is spoilt. */
struct call {
    const gqa_layer *layer;
    const gqa_cache *cache;
    gqa_attend_inputs in;
    gqa_attend_output out;
    const gqa_attend_inputs *inputs; /* &in */
    gqa_attend_output *output;       /* &out */
    gqa_states prior;
    void *workspace;
    size_t size;
};

static struct small_layer small, other;
static uint64_t untouched; /* hash of small's cache */

static const float zeros[B * K * SMALL_HQ * SMALL_DK];
static uint8_t seen[B * SMALL_HQ * T * K];
static float written[5][B * T * SMALL_HQ * SMALL_DK], lower[3][B * T * SMALL_HQ * SMALL_DK];
static _Alignas(64) unsigned char block[1 << 20];

static void other_dims(gqa_config *config)
{
    config->v_head_dim = SMALL_DV + 1;
}

static int open_all(void **state)
{
    static float out[B * K * SMALL_HIDDEN];
    (void)state;
    memset(seen, 1, sizeof seen);
    small_layer_open(&small, NULL);
    small_layer_open(&other, other_dims);
    assert_int_equal(small_layer_forward(&small, small.cache, NULL, B, K, small.x, out), GQA_OK);
    untouched = small_layer_cache_hash(small.cache, SMALL_SEQUENCES);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    small_layer_close(&small);
    small_layer_close(&other);
    return 0;
}

static gqa_states states_in(float (*memory)[B * T * SMALL_HQ * SMALL_DK], int32_t begin,
                            int32_t end)
{
    gqa_states states;
    states.m = gqa_tensor_3d(memory[0], GQA_F32, B, T, SMALL_HQ);
    states.l = gqa_tensor_3d(memory[1], GQA_F32, B, T, SMALL_HQ);
    states.o = gqa_tensor_4d(memory[2], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    states.key_begin = begin;
    states.key_end = end;
    return states;
}

static void on_cache(struct call *c)
{
    memset(c, 0, sizeof *c);
    c->layer = small.layer;
    c->cache = small.cache;
    c->inputs = &c->in;
    c->output = &c->out;
    gqa_attend_inputs_init(&c->in);
    gqa_attend_output_init(&c->out);
    c->in.query = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HQ, SMALL_DK);
    c->in.mask = gqa_tensor_4d(seen, GQA_U8, B, SMALL_HQ, T, K);
    c->in.bias = gqa_tensor_4d(zeros, GQA_F32, B, SMALL_HQ, T, K);
    c->out.output = gqa_tensor_4d(written[3], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    c->out.lse = gqa_tensor_3d(written[4], GQA_F32, B, T, SMALL_HQ);
    c->out.states = states_in(written, 0, 0);
}

static void on_plain(struct call *c)
{
    on_cache(c);
    c->cache = NULL;
    c->in.key = gqa_tensor_4d(zeros, GQA_F32, B, K, SMALL_HKV, SMALL_DK);
    c->in.value = gqa_tensor_4d(zeros, GQA_F32, B, K, SMALL_HKV, SMALL_DV);
}

static void refused(struct call *c, const char *what, gqa_status status, const char *field)
{
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_attend_output before = c->out;
    gqa_status got =
        gqa_attend(c->layer, c->cache, c->inputs, c->output, c->workspace, c->size, &err);
    if (got != status || err.status != status || err.field == NULL ||
        strcmp(err.field, field) != 0 || strstr(err.message, field) == NULL) {
        fail_msg("%s: %d for %s (\"%s\"), not %d for %s", what, (int)got,
                 err.field != NULL ? err.field : "nothing", err.message, (int)status, field);
    }
    if (gqa_attend(c->layer, c->cache, c->inputs, c->output, c->workspace, c->size, NULL) !=
        status) {
        fail_msg("%s: another status without a gqa_error", what);
    }
    if (memcmp(&before, &c->out, sizeof before) != 0) {
        fail_msg("%s: the output struct was written", what);
    }
    if (small_layer_cache_hash(small.cache, SMALL_SEQUENCES) != untouched) {
        fail_msg("%s: the cache was changed", what);
    }
}

/* --- tensors -----------------------------------------------------------------------------------
 */

#define IN(member)  "inputs." #member, offsetof(struct call, in.member)
#define OUT(member) "output." #member, offsetof(struct call, out.member)

static const struct fault_tensor tensors[] = {
    {IN(query), 2, FAULT_FLOATS, false},
    {IN(mask), 0, FAULT_MASKS, true},
    {IN(bias), 0, FAULT_FLOATS, true},
    {OUT(output), 0, FAULT_FLOATS, false},
    {OUT(lse), 0, FAULT_ONLY_F32, false},
    {"output.states", offsetof(struct call, out.states.m), 0, FAULT_ONLY_F32, false},
    {"output.states", offsetof(struct call, out.states.l), 0, FAULT_ONLY_F32, false},
    {"output.states", offsetof(struct call, out.states.o), 0, FAULT_ONLY_F32, false},
    {IN(key), 2, FAULT_FLOATS, false}, /* from here on: plain only */
    {IN(value), 0, FAULT_FLOATS, false},
};
enum { TENSORS = sizeof tensors / sizeof tensors[0], CACHE_TENSORS = TENSORS - 2 };

static void spoil_each(void (*make)(struct call *), size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (int way = 0; way < FAULT_WAYS; way++) {
            struct call c;
            gqa_status status;
            const char *text;
            char what[96];
            make(&c);
            if (fault_spoil(&tensors[i], way,
                            (gqa_tensor *)(void *)((unsigned char *)&c + tensors[i].offset),
                            &status, &text)) {
                snprintf(what, sizeof what, "%s with %s", tensors[i].field, text);
                refused(&c, what, status, tensors[i].field);
            }
        }
    }
}

static void spoilt_tensors(void **state)
{
    (void)state;
    spoil_each(on_cache, CACHE_TENSORS);
    spoil_each(on_plain, TENSORS);
}

/* --- everything else: one function per fault -----------------------------------------------------
 */

static const int32_t minus_two[B] = {0, 1, -2}, beyond[B] = {0, 1, SMALL_SEQUENCES};
static const int32_t below_zero[B] = {0, -1, 0}, four[B] = {0, 4, 0}, nine[B] = {K, K + 1, K};
static const int32_t stuck[B * K] = {0, 1, 2, 3, 4, 5, 6, 6, 0, 1, 2, 3,
                                     4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};

static void inputs_size_small(struct call *c)
{
    c->in.struct_size = 1;
}

static void output_size_small(struct call *c)
{
    c->out.struct_size = 3;
}

static void query_absent(struct call *c)
{
    c->in.query.data = NULL;
}

static void key_absent(struct call *c)
{
    c->in.key.data = NULL;
}

static void value_absent(struct call *c)
{
    c->in.value.data = NULL;
}

static void key_beside_cache(struct call *c)
{
    c->in.key = gqa_tensor_4d(zeros, GQA_F32, B, K, SMALL_HKV, SMALL_DK);
}

static void value_beside_cache(struct call *c)
{
    c->in.value = gqa_tensor_4d(zeros, GQA_F32, B, K, SMALL_HKV, SMALL_DV);
}

static void key_lengths_beside_cache(struct call *c)
{
    c->in.key_lengths = four;
}

static void key_lengths_negative(struct call *c)
{
    c->in.key_lengths = below_zero;
}

static void key_lengths_beyond(struct call *c)
{
    c->in.key_lengths = nine;
}

static void key_positions_beside_cache(struct call *c)
{
    c->in.key_position_ids = stuck;
}

static void key_positions_stuck(struct call *c)
{
    c->in.mask.data = NULL;
    c->in.key_position_ids = stuck;
}

static void sequences_beside_plain(struct call *c)
{
    c->in.sequences = four;
}

static void sequence_minus_two(struct call *c)
{
    c->in.sequences = minus_two;
}

static void sequence_beyond(struct call *c)
{
    c->in.sequences = beyond;
}

static void first_negative(struct call *c)
{
    c->in.first_valid = below_zero;
}

static void length_beyond(struct call *c)
{
    c->in.lengths = four;
}

static void phase_three(struct call *c)
{
    c->in.phase = (gqa_phase)3;
}

static void begin_alone(struct call *c)
{
    c->in.key_begin = stuck;
}

static void end_alone(struct call *c)
{
    c->in.key_end = stuck;
}

static void rows_alone(struct call *c)
{
    c->in.row_begin = stuck;
    c->in.batch = -1;
}

static void batch_alone(struct call *c)
{
    c->in.batch = 1;
}

static void range_begin_odd(struct call *c)
{
    c->in.range_begin = BLOCK_KEYS + 1;
}

static void range_begin_negative(struct call *c)
{
    c->in.range_begin = -BLOCK_KEYS;
}

static void range_end_below(struct call *c)
{
    c->in.range_begin = 2 * BLOCK_KEYS;
    c->in.range_end = BLOCK_KEYS;
}

static void range_end_inside(struct call *c)
{
    c->in.range_end = K - 1;
}

static void sinks_flag_two(struct call *c)
{
    c->in.leave_out_sinks = 2;
}

static void prior_overlaps(struct call *c)
{
    c->prior = states_in(lower, 0, BLOCK_KEYS);
    c->in.prior = &c->prior;
}

static void prior_without_o(struct call *c)
{
    c->prior = states_in(lower, 0, 0);
    c->prior.o.data = NULL;
    c->in.prior = &c->prior;
}

static void prior_of_other_shape(struct call *c)
{
    c->prior = states_in(lower, 0, 0);
    c->prior.m.shape[2]--;
    c->in.prior = &c->prior;
}

static void states_without_l(struct call *c)
{
    c->out.states.l.data = NULL;
}

static void states_without_m(struct call *c)
{
    c->out.states.m.data = NULL;
}

static void states_strided(struct call *c)
{
    c->out.states.m.stride[1] *= 2;
}

static void no_output(struct call *c)
{
    c->out.output.data = c->out.lse.data = NULL;
    c->out.states.m.data = c->out.states.l.data = c->out.states.o.data = NULL;
}

static void layer_null(struct call *c)
{
    c->layer = NULL;
}

static void inputs_null(struct call *c)
{
    c->inputs = NULL;
}

static void output_null(struct call *c)
{
    c->output = NULL;
}

static void cache_of_other_dims(struct call *c)
{
    c->cache = other.cache;
}

static void work_not_initialised(struct call *c)
{
    static gqa_work work;
    c->out.work = &work;
}

static void health_not_initialised(struct call *c)
{
    static gqa_health health;
    c->out.health = &health;
}

static void neuron_of_another_backend(struct call *c)
{
    static gqa_neuron_report report;
    gqa_neuron_report_init(&report);
    c->out.neuron = &report;
}

static void workspace_one_short(struct call *c)
{
    assert_int_equal(
        gqa_attend_workspace_size(c->layer, c->cache, c->inputs, c->output, &c->size, NULL),
        GQA_OK);
    assert_true(c->size <= sizeof block);
    c->workspace = block;
    c->size -= 1;
}

static void workspace_misaligned(struct call *c)
{
    c->workspace = block + 4;
    c->size = sizeof block - 4;
}

static void workspace_null(struct call *c)
{
    c->size = 64;
}

struct fault {
    void (*spoil)(struct call *call);
    const char *what;
    const char *field;
    gqa_status status;
};

#define FAULT(spoil, field)                                                                        \
    {                                                                                              \
        spoil, #spoil, field, GQA_ERR_ARG                                                          \
    }

/* Spoil a call on plain keys and one on a cache alike. */
static const struct fault of_both[] = {
    FAULT(inputs_size_small, "inputs"),
    FAULT(output_size_small, "output"),
    FAULT(query_absent, "inputs.query"),
    FAULT(first_negative, "inputs.first_valid"),
    FAULT(length_beyond, "inputs.lengths"),
    FAULT(phase_three, "inputs.phase"),
    FAULT(begin_alone, "inputs.key_end"),
    FAULT(end_alone, "inputs.key_begin"),
    FAULT(rows_alone, "inputs.batch"),
    FAULT(batch_alone, "inputs.batch"),
    FAULT(range_begin_odd, "inputs.range_begin"),
    FAULT(range_begin_negative, "inputs.range_begin"),
    FAULT(range_end_below, "inputs.range_end"),
    FAULT(range_end_inside, "inputs.range_end"),
    FAULT(sinks_flag_two, "inputs.leave_out_sinks"),
    FAULT(prior_overlaps, "inputs.prior"),
    FAULT(prior_without_o, "inputs.prior"),
    {prior_of_other_shape, "prior_of_other_shape", "inputs.prior", GQA_ERR_SHAPE},
    FAULT(states_without_l, "output.states"),
    FAULT(states_without_m, "output.states"),
    {states_strided, "states_strided", "output.states", GQA_ERR_SHAPE},
    FAULT(no_output, "output.output"),
    FAULT(work_not_initialised, "output.work"),
    FAULT(health_not_initialised, "output.health"),
    FAULT(neuron_of_another_backend, "output.neuron"),
    FAULT(layer_null, "layer"),
    FAULT(inputs_null, "inputs"),
    FAULT(output_null, "output"),
    {workspace_one_short, "workspace_one_short", "size", GQA_ERR_WORKSPACE},
    FAULT(workspace_misaligned, "workspace"),
    FAULT(workspace_null, "workspace"),
};

static const struct fault of_plain[] = {
    FAULT(key_absent, "inputs.key"),
    FAULT(value_absent, "inputs.value"),
    FAULT(key_lengths_negative, "inputs.key_lengths"),
    FAULT(key_lengths_beyond, "inputs.key_lengths"),
    FAULT(key_positions_stuck, "inputs.key_position_ids"),
    FAULT(sequences_beside_plain, "inputs.sequences"),
};

static const struct fault of_cache[] = {
    FAULT(key_beside_cache, "inputs.key"),
    FAULT(value_beside_cache, "inputs.value"),
    FAULT(key_lengths_beside_cache, "inputs.key_lengths"),
    FAULT(key_positions_beside_cache, "inputs.key_position_ids"),
    FAULT(sequence_minus_two, "inputs.sequences"),
    FAULT(sequence_beyond, "inputs.sequences"),
    FAULT(cache_of_other_dims, "cache"),
};
enum {
    BOTH = sizeof of_both / sizeof of_both[0],
    PLAIN = sizeof of_plain / sizeof of_plain[0],
    CACHE = sizeof of_cache / sizeof of_cache[0]
};

static void run_faults(void (*make)(struct call *), const struct fault *faults, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct call c;
        make(&c);
        faults[i].spoil(&c);
        refused(&c, faults[i].what, faults[i].status, faults[i].field);
    }
}

static void spoilt_calls(void **state)
{
    (void)state;
    run_faults(on_plain, of_both, BOTH);
    run_faults(on_cache, of_both, BOTH);
    run_faults(on_plain, of_plain, PLAIN);
    run_faults(on_cache, of_cache, CACHE);
}

static bool mentioned(const char *member, const struct fault *faults, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(member, faults[i].field) == 0) {
            return true;
        }
    }
    return false;
}

/* Every member of both structs is the field of some fault, or has no bad value. */
static void every_member_is_spoilt(void **state)
{
    static const char *const without[] = {
        "inputs.struct_size",  "output.struct_size", /* spoilt as "inputs" and "output" */
        "inputs.position_ids",                       /* any numbers: queries need no order */
        "inputs.row_begin",                          /* test_flat */
        "inputs.blocks",                             /* test_blocks_errors */
        "inputs.trace",                              /* any pointer */
        "inputs.trace_user",                         /* the same */
        "output.path"};                              /* filled */
    const char *header = GQA_SOURCE_DIR "/include/gqa/attend.h";
    char members[64][64];
    int n = fault_members(header, "gqa_attend_inputs", "inputs", members, 64);
    (void)state;
    assert_int_equal(n, 24);
    n += fault_members(header, "gqa_attend_output", "output", members + n, 64 - n);
    assert_int_equal(n, 24 + 8);
    for (int i = 0; i < n; i++) {
        bool found = mentioned(members[i], of_both, BOTH) ||
                     mentioned(members[i], of_plain, PLAIN) ||
                     mentioned(members[i], of_cache, CACHE);
        for (size_t j = 0; j < sizeof without / sizeof without[0]; j++) {
            found = found || strcmp(members[i], without[j]) == 0;
        }
        for (size_t j = 0; j < TENSORS; j++) {
            found = found || strcmp(members[i], tensors[j].field) == 0;
        }
        if (!found) {
            fail_msg("%s is never spoilt", members[i]);
        }
    }
}

static void unspoilt_calls(void **state)
{
    struct call c;
    gqa_error err;
    (void)state;
    on_cache(&c);
    if (gqa_attend(c.layer, c.cache, c.inputs, c.output, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    on_plain(&c);
    if (gqa_attend(c.layer, c.cache, c.inputs, c.output, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(small_layer_cache_hash(small.cache, SMALL_SEQUENCES) == untouched);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spoilt_tensors),
        cmocka_unit_test(spoilt_calls),
        cmocka_unit_test(unspoilt_calls),
        cmocka_unit_test(every_member_is_spoilt),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) { /* cmocka cannot skip in a setup */
        return TEST_SKIPPED;
    }
    return RUN_TESTS_WITHIN(argc, argv, tests, open_all, close_all);
}
