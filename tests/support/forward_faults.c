/* SPDX-License-Identifier: Apache-2.0 */
/* forward_faults.c - a good forward call, and every way to spoil it. */
#include "support/forward_faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PAIRS = SMALL_DK / 2 };

static struct small_layer small, other, narrow; /* narrow: no rope, no gate, attention only */

static const float zeros[B * K * SMALL_HQ * SMALL_DK * 4];
static uint8_t seen[B * SMALL_HQ * T * K];
static float written[8][B * K * SMALL_HQ * SMALL_DK * 4];
static _Alignas(64) unsigned char block[1 << 20];

static void gated(gqa_config *config)
{
    config->gate = GQA_GATE_ELEMENT;
}

static void other_dims(gqa_config *config)
{
    config->v_head_dim = SMALL_DV + 1;
}

static void attention_only(gqa_config *config)
{
    config->hidden_size = 0;
    config->rope = GQA_ROPE_NONE;
}

void forward_open(void)
{
    gqa_inputs in;
    memset(seen, 1, sizeof seen);
    small_layer_open(&small, gated);
    small_layer_open(&other, other_dims);
    small_layer_open(&narrow, attention_only);
    gqa_inputs_init(&in);
    if (small_layer_forward(&small, small.cache, &in, B, PAST, small.x, written[0]) != GQA_OK) {
        fail_msg("%s", small.err.message);
    }
}

void forward_close(void)
{
    small_layer_close(&small);
    small_layer_close(&other);
    small_layer_close(&narrow);
}

struct small_layer *forward_layer(void)
{
    return &small;
}

uint64_t forward_cache_hash(void)
{
    return small_layer_cache_hash(small.cache, SMALL_SEQUENCES);
}

/* Everything that is given and wanted by both kinds of calls. */
static void begin(struct call *c)
{
    memset(c, 0, sizeof *c);
    c->layer = small.layer;
    c->cache = small.cache;
    c->inputs = &c->in;
    c->output = &c->out;
    gqa_inputs_init(&c->in);
    gqa_output_init(&c->out);
    c->in.mask = gqa_tensor_4d(seen, GQA_U8, B, SMALL_HQ, T, K);
    c->in.bias = gqa_tensor_4d(zeros, GQA_F32, B, SMALL_HQ, T, K);
    c->in.active_mask = gqa_tensor_3d(seen, GQA_U8, B, T, T);
    c->out.hidden_states = gqa_tensor_3d(written[0], GQA_F32, B, T, SMALL_HIDDEN);
    c->out.present_key_value.k = gqa_tensor_4d(written[1], GQA_F32, B, SMALL_HKV, T, SMALL_DK);
    c->out.present_key_value.v = gqa_tensor_4d(written[2], GQA_F32, B, SMALL_HKV, T, SMALL_DV);
    c->out.cos_cache = gqa_tensor_3d(written[3], GQA_F32, B, T, PAIRS);
    c->out.sin_cache = gqa_tensor_3d(written[4], GQA_F32, B, T, PAIRS);
    c->out.attn = gqa_tensor_4d(written[6], GQA_F32, B, T, SMALL_HQ, SMALL_DV);
    c->out.lse = gqa_tensor_3d(written[7], GQA_F32, B, T, SMALL_HQ);
}

void call_from_hidden(struct call *c)
{
    begin(c);
    c->in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, B, T, SMALL_HIDDEN);
    c->in.residual = gqa_tensor_3d(small.x, GQA_F32, B, T, SMALL_HIDDEN);
    c->in.cos_cache = gqa_tensor_3d(zeros, GQA_F32, B, T, PAIRS);
    c->in.sin_cache = gqa_tensor_3d(zeros, GQA_F32, B, T, PAIRS);
    c->in.rope_key = gqa_layer_rope_key(small.layer);
    c->out.residual = gqa_tensor_3d(written[5], GQA_F32, B, T, SMALL_HIDDEN);
}

void call_from_projections(struct call *c)
{
    begin(c);
    c->in.q_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HQ, SMALL_DK);
    c->in.k_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HKV, SMALL_DK);
    c->in.v_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HKV, SMALL_DV);
    c->in.gate_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HQ, SMALL_DV);
}

#define IN(member)  "inputs." #member, offsetof(struct call, in.member)
#define OUT(member) "output." #member, offsetof(struct call, out.member)

const struct fault_tensor hidden_tensors[] = {
    {IN(hidden_states), 2, FAULT_FLOATS, false},
    {IN(residual), 0, FAULT_FLOATS, false},
    {IN(cos_cache), 0, FAULT_ONLY_F32, false},
    {IN(sin_cache), 0, FAULT_ONLY_F32, false},
    {IN(mask), 0, FAULT_MASKS, true},
    {IN(bias), 0, FAULT_FLOATS, true},
    {IN(active_mask), 0, FAULT_MASKS, false},
    {OUT(hidden_states), 0, FAULT_FLOATS, false},
    {OUT(present_key_value.k), 0, FAULT_FLOATS, false},
    {OUT(present_key_value.v), 0, FAULT_FLOATS, false},
    {OUT(cos_cache), 0, FAULT_ONLY_F32, false},
    {OUT(sin_cache), 0, FAULT_ONLY_F32, false},
    {OUT(residual), 0, FAULT_FLOATS, false},
    {OUT(attn), 0, FAULT_FLOATS, false},
    {OUT(lse), 0, FAULT_ONLY_F32, false},
};
const size_t hidden_tensor_count = sizeof hidden_tensors / sizeof hidden_tensors[0];

const struct fault_tensor projection_tensors[] = {
    {IN(q_proj), 2, FAULT_FLOATS, false},
    {IN(k_proj), 0, FAULT_FLOATS, false},
    {IN(v_proj), 0, FAULT_FLOATS, false},
    {IN(gate_proj), 0, FAULT_FLOATS, false},
};
const size_t projection_tensor_count = sizeof projection_tensors / sizeof projection_tensors[0];

/* --- everything else: one function per fault -----------------------------------------------------
 */

static const int32_t minus_two[B] = {0, 1, -2}, beyond[B] = {0, 1, SMALL_SEQUENCES},
                     twice[B] = {1, 2, 1};
static const int32_t below_zero[B] = {0, -1, 0}, four[B] = {0, 4, 0}, one[B] = {1, 1, 1};
static const int32_t stuck[B * T] = {5, 6, 6, 5, 6, 7, 5, 6, 7};
static const int32_t old[B * T] = {5, 6, 7, 4, 5, 6, 5, 6, 7};
static const int32_t empty_second[B] = {0, B, 1};

static void no_masks(struct call *c)
{
    c->in.mask.data = c->in.bias.data = c->in.active_mask.data = NULL;
}

static void inputs_size_small(struct call *c)
{
    c->in.struct_size = 2;
}

static void inputs_size_wild(struct call *c)
{
    c->in.struct_size = 1u << 30;
}

static void output_size_small(struct call *c)
{
    c->out.struct_size = 0;
}

static void hidden_absent(struct call *c)
{
    c->in.hidden_states.data = NULL;
}

static void hidden_beside_q_proj(struct call *c)
{
    c->in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, B, T, SMALL_HIDDEN);
}

static void hidden_for_residual_absent(struct call *c)
{
    c->out.residual = gqa_tensor_3d(written[5], GQA_F32, B, T, SMALL_HIDDEN);
}

static void residual_alone(struct call *c)
{
    c->in.residual = gqa_tensor_3d(small.x, GQA_F32, B, T, SMALL_HIDDEN);
}

static void k_proj_beside_hidden(struct call *c)
{
    c->in.k_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HKV, SMALL_DK);
}

static void v_proj_beside_hidden(struct call *c)
{
    c->in.v_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HKV, SMALL_DV);
}

static void gate_proj_beside_hidden(struct call *c)
{
    c->in.gate_proj = gqa_tensor_4d(small.x, GQA_F32, B, T, SMALL_HQ, SMALL_DV);
}

static void v_proj_absent(struct call *c)
{
    c->in.v_proj.data = NULL;
}

static void gate_proj_absent(struct call *c)
{
    c->in.gate_proj.data = NULL;
}

static void v_proj_without_k(struct call *c)
{
    c->in.k_proj.data = NULL;
    c->out.present_key_value.k.data = c->out.present_key_value.v.data = NULL;
}

static void k_proj_borrowed(struct call *c)
{
    c->in.borrow_cache = 1;
}

static void sequence_minus_two(struct call *c)
{
    c->in.sequences = minus_two;
}

static void sequence_beyond(struct call *c)
{
    c->in.sequences = beyond;
}

static void sequence_twice(struct call *c)
{
    c->in.sequences = twice;
}

static void first_negative(struct call *c)
{
    c->in.first_valid = below_zero;
}

static void first_beyond(struct call *c)
{
    c->in.first_valid = four;
}

static void length_negative(struct call *c)
{
    c->in.lengths = below_zero;
}

static void length_beyond(struct call *c)
{
    c->in.lengths = four;
}

static void length_beyond_padding(struct call *c)
{
    static const int32_t all[B] = {2, T, 2};
    c->in.first_valid = one;
    c->in.lengths = all;
}

static void positions_stuck(struct call *c)
{
    no_masks(c);
    c->in.position_ids = stuck;
}

static void positions_of_the_past(struct call *c)
{
    no_masks(c);
    c->in.position_ids = old;
}

static void rotary_beside_tables(struct call *c)
{
    c->in.rotary_position_ids = old;
}

static void rope_length_negative(struct call *c)
{
    c->in.rope_length = -1;
}

static void phase_negative(struct call *c)
{
    c->in.phase = (gqa_phase)-1;
}

static void phase_three(struct call *c)
{
    c->in.phase = (gqa_phase)3;
}

static void cos_absent(struct call *c)
{
    c->in.cos_cache.data = NULL;
}

static void sin_absent(struct call *c)
{
    c->in.sin_cache.data = NULL;
}

static void rope_key_absent(struct call *c)
{
    c->in.rope_key = 0;
}

static void begin_alone(struct call *c)
{
    c->in.key_begin = old;
}

static void end_alone(struct call *c)
{
    c->in.key_end = old;
}

static void rows_alone(struct call *c)
{
    c->in.row_begin = old;
    c->in.batch = -1;
}

static void batch_alone(struct call *c)
{
    c->in.batch = 1;
}

static void borrow_two(struct call *c)
{
    c->in.borrow_cache = 2;
}

static void borrow_of_nothing(struct call *c)
{
    c->in.borrow_cache = 1;
    c->cache = NULL;
    c->out.present_key_value.k.data = c->out.present_key_value.v.data = NULL;
}

static void borrow_from_empty(struct call *c)
{
    no_masks(c);
    c->in.borrow_cache = 1;
    c->in.sequences = empty_second;
    c->out.present_key_value.k.data = c->out.present_key_value.v.data = NULL;
}

static void present_k_borrowed(struct call *c)
{
    c->in.borrow_cache = 1;
}

static void present_v_borrowed(struct call *c)
{
    c->in.borrow_cache = 1;
    c->out.present_key_value.k.data = NULL;
}

static void no_output(struct call *c)
{
    c->out.hidden_states.data = c->out.attn.data = NULL;
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

static void neuron_not_initialised(struct call *c)
{
    static gqa_neuron_report report;
    c->out.neuron = &report;
}

static void workspace_small(struct call *c)
{
    c->workspace = block;
    c->size = 64;
}

static void workspace_one_short(struct call *c)
{
    assert_int_equal(gqa_workspace_size(c->layer, c->cache, c->inputs, c->output, &c->size, NULL),
                     GQA_OK);
    assert_true(c->size <= sizeof block);
    c->workspace = block;
    c->size -= 1;
}

static void workspace_misaligned(struct call *c)
{
    c->workspace = block + 8;
    c->size = sizeof block - 8;
}

static void workspace_null(struct call *c)
{
    c->size = sizeof block;
}

/* The attention-only layer without rope and gate: what it has no use for. */
void call_of_narrow(struct call *c)
{
    c->layer = narrow.layer;
    c->cache = narrow.cache;
    no_masks(c);
    c->in.gate_proj.data = NULL;
    c->out.hidden_states.data = c->out.cos_cache.data = c->out.sin_cache.data = NULL;
}

static void narrow_hidden(struct call *c)
{
    call_of_narrow(c);
    c->in.q_proj.data = c->in.k_proj.data = c->in.v_proj.data = NULL;
    c->in.hidden_states = gqa_tensor_3d(small.x, GQA_F32, B, T, SMALL_HIDDEN);
}

static void narrow_gate(struct call *c)
{
    call_of_narrow(c);
    gate_proj_beside_hidden(c);
}

static void narrow_cos(struct call *c)
{
    call_of_narrow(c);
    c->in.cos_cache = c->in.sin_cache = gqa_tensor_3d(zeros, GQA_F32, B, T, PAIRS);
}

static void narrow_rotary(struct call *c)
{
    call_of_narrow(c);
    c->in.rotary_position_ids = old;
}

static void narrow_hidden_out(struct call *c)
{
    call_of_narrow(c);
    c->out.hidden_states = gqa_tensor_3d(written[0], GQA_F32, B, T, SMALL_HIDDEN);
}

static void narrow_cos_out(struct call *c)
{
    call_of_narrow(c);
    c->out.cos_cache = gqa_tensor_3d(written[3], GQA_F32, B, T, PAIRS);
}

static void narrow_sin_out(struct call *c)
{
    call_of_narrow(c);
    c->out.sin_cache = gqa_tensor_3d(written[4], GQA_F32, B, T, PAIRS);
}

#define FAULT(spoil, field)                                                                        \
    {                                                                                              \
        spoil, #spoil, field, GQA_ERR_ARG                                                          \
    }

const struct forward_fault hidden_faults[] = {
    FAULT(inputs_size_small, "inputs"),
    FAULT(inputs_size_wild, "inputs"),
    FAULT(output_size_small, "output"),
    FAULT(hidden_absent, "inputs.hidden_states"),
    FAULT(k_proj_beside_hidden, "inputs.k_proj"),
    FAULT(v_proj_beside_hidden, "inputs.v_proj"),
    FAULT(gate_proj_beside_hidden, "inputs.gate_proj"),
    FAULT(sequence_minus_two, "inputs.sequences"),
    FAULT(sequence_beyond, "inputs.sequences"),
    FAULT(sequence_twice, "inputs.sequences"),
    FAULT(first_negative, "inputs.first_valid"),
    FAULT(first_beyond, "inputs.first_valid"),
    FAULT(length_negative, "inputs.lengths"),
    FAULT(length_beyond, "inputs.lengths"),
    FAULT(length_beyond_padding, "inputs.lengths"),
    FAULT(positions_stuck, "inputs.position_ids"),
    FAULT(positions_of_the_past, "inputs.position_ids"),
    FAULT(rotary_beside_tables, "inputs.rotary_position_ids"),
    FAULT(rope_length_negative, "inputs.rope_length"),
    FAULT(phase_negative, "inputs.phase"),
    FAULT(phase_three, "inputs.phase"),
    FAULT(cos_absent, "inputs.sin_cache"),
    FAULT(sin_absent, "inputs.sin_cache"),
    FAULT(rope_key_absent, "inputs.rope_key"),
    FAULT(begin_alone, "inputs.key_end"),
    FAULT(end_alone, "inputs.key_begin"),
    FAULT(rows_alone, "inputs.batch"),
    FAULT(batch_alone, "inputs.batch"),
    FAULT(borrow_two, "inputs.borrow_cache"),
    FAULT(borrow_of_nothing, "cache"),
    FAULT(borrow_from_empty, "inputs.lengths"),
    FAULT(present_k_borrowed, "output.present_key_value.k"),
    FAULT(present_v_borrowed, "output.present_key_value.v"),
    FAULT(no_output, "output.hidden_states"),
    FAULT(work_not_initialised, "output.work"),
    FAULT(health_not_initialised, "output.health"),
    FAULT(neuron_of_another_backend, "output.neuron"),
    FAULT(neuron_not_initialised, "output.neuron"),
    FAULT(layer_null, "layer"),
    FAULT(inputs_null, "inputs"),
    FAULT(output_null, "output"),
    FAULT(cache_of_other_dims, "cache"),
    {workspace_small, "workspace_small", "size", GQA_ERR_WORKSPACE},
    {workspace_one_short, "workspace_one_short", "size", GQA_ERR_WORKSPACE},
    FAULT(workspace_misaligned, "workspace"),
    FAULT(workspace_null, "workspace"),
};

const struct forward_fault projection_faults[] = {
    FAULT(hidden_beside_q_proj, "inputs.hidden_states"),
    FAULT(hidden_for_residual_absent, "inputs.hidden_states"),
    FAULT(residual_alone, "inputs.residual"),
    FAULT(v_proj_absent, "inputs.v_proj"),
    FAULT(v_proj_without_k, "inputs.v_proj"),
    FAULT(k_proj_borrowed, "inputs.k_proj"),
    FAULT(gate_proj_absent, "inputs.gate_proj"),
    FAULT(narrow_hidden, "inputs.hidden_states"),
    FAULT(narrow_gate, "inputs.gate_proj"),
    FAULT(narrow_cos, "inputs.cos_cache"),
    FAULT(narrow_rotary, "inputs.rotary_position_ids"),
    FAULT(narrow_hidden_out, "output.hidden_states"),
    FAULT(narrow_cos_out, "output.cos_cache"),
    FAULT(narrow_sin_out, "output.sin_cache"),
};
const size_t hidden_fault_count = sizeof hidden_faults / sizeof hidden_faults[0];
const size_t projection_fault_count = sizeof projection_faults / sizeof projection_faults[0];
