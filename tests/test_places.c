/* SPDX-License-Identifier: Apache-2.0 */
/* test_places.c - layer/place.c: what of a call is used where the caller has it, and what is
 * copied.
 *
 * A shortcut that is lost changes no result. So each rule is looked at here: one call that takes
 * all shortcuts, and beside it the same call with one thing changed that forbids some of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/attend_check.h"
#include "api/forward_check.h"
#include "base/memory.h"
#include "layer/place.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { B = 2, T = 3, BLOCK = 4, HEADS = SMALL_HQ + 1, DIM = SMALL_HIDDEN + 8, SPACE = 1 << 20 };

/* One call; the tensors lie apart unless a change moves them. */
struct scene {
    struct small_layer small;
    gqa_inputs in;
    gqa_output out;
    gqa_attend_inputs attend_in;
    gqa_attend_output attend_out;
};

static float memory[16][B * T * HEADS * DIM];

static gqa_tensor heads(int i, int n, int dim)
{
    return gqa_tensor_4d(memory[i], GQA_F32, B, T, n, dim);
}

static gqa_tensor rows(int i)
{
    return gqa_tensor_3d(memory[i], GQA_F32, B, T, SMALL_HIDDEN);
}

/* --- where things lie, as a word ------------------------------------------------------------- */

/* c: in the caller's tensor; o: in the workspace's own; -: nowhere. */
static char where(const struct gqa__place *place)
{
    return (char)(place->tensor != NULL ? 'c' : place->buffer != NULL ? 'o' : '-');
}

/* q k v, gate, attn, lse, sum kv_sum, out; then the source's letter; then what else is saved: f
 * nothing follows attention, p the output projection adds the sum, x the projection clips. */
static void describe(struct gqa__call *call, char word[32])
{
    static const char sources[] = {[GQA__SOURCE_CALLER] = 'l',
                                   [GQA__SOURCE_SPLIT] = 's',
                                   [GQA__SOURCE_ROWS] = 'r',
                                   [GQA__SOURCE_FINAL] = 'f'};
    struct gqa__places at;
    struct gqa__arena arena;
    void *const space = aligned_alloc(GQA__ALIGN, SPACE);
    void *const scratch = aligned_alloc(GQA__ALIGN, SPACE);

    assert_non_null(space);
    assert_non_null(scratch);
    gqa__arena_open(&arena, space, SPACE);
    gqa__places_carve(&at, call, BLOCK, scratch, &arena);
    assert_false(arena.failed);
    (void)snprintf(word, 32, "%c%c%c %c %c %c %c%c %c %c%s%s%s", where(&at.q), where(&at.k),
                   where(&at.v), where(&at.gate), where(&at.attn), where(&at.lse), where(&at.sum),
                   where(&at.kv_sum), where(&at.out), sources[at.source], at.attn_final ? "f" : "",
                   at.sum_in_product ? "p" : "", at.product_clip > 0.0f ? "x" : "");
    free(space);
    free(scratch);
}

/* --- the changes ----------------------------------------------------------------------------- */

struct change {
    const char *name;
    void (*config)(gqa_config *config); /* or NULL */
    void (*call)(struct scene *scene);  /* or NULL */
    const char *want;
};

static void ignore(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    (void)user, (void)stage, (void)b, (void)first, (void)tensor;
}

static void no_rope(gqa_config *c)
{
    c->rope = GQA_ROPE_NONE;
}

static void rope(gqa_config *c)
{
    c->rope = GQA_ROPE_HALF;
}

static void clip(gqa_config *c)
{
    c->clip_qkv = 2.0f;
}

static void qk_norm(gqa_config *c)
{
    c->qk_norm_scope = GQA_QK_NORM_HEAD;
    c->qk_norm = GQA_NORM_RMS;
}

static void temperature(gqa_config *c)
{
    c->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
    c->query_temperature_scale = 0.5f;
    c->query_temperature_floor = 2.0f;
}

static void gate(gqa_config *c)
{
    c->gate = GQA_GATE_ELEMENT;
}

static void q_tail(gqa_config *c)
{
    c->gate = GQA_GATE_Q_TAIL;
    c->clip_qkv = 2.0f;
}

static void multiplier(gqa_config *c)
{
    c->key_multiplier = 0.5f;
}

static void v_scale(gqa_config *c)
{
    c->v_scale = 0.5f;
}

static void v_norm(gqa_config *c)
{
    c->v_norm = GQA_NORM_RMS;
}

static void post_norm(gqa_config *c)
{
    c->post_norm = GQA_NORM_RMS;
}

static void out_multiplier(gqa_config *c)
{
    c->attn_out_multiplier = 0.5f;
}

static void add_residual(gqa_config *c)
{
    c->add_residual = 1;
}

static void no_residual(gqa_config *c)
{
    c->add_residual = 0;
}

static void q_bf16(struct scene *s)
{
    s->in.q_proj.dtype = GQA_BF16;
}

static void k_f16(struct scene *s)
{
    s->in.k_proj.dtype = GQA_F16;
}

/* Rows with a gap between the heads of v; and of the result. */
static void v_gap(struct scene *s)
{
    gqa_tensor *const t = &s->in.v_proj;
    t->stride[3] = 1;
    t->stride[2] = SMALL_DV + 1;
    t->stride[1] = t->stride[2] * SMALL_HKV;
    t->stride[0] = t->stride[1] * T;
}

static void attn_gap(struct scene *s)
{
    gqa_tensor *const t = &s->out.attn;
    t->stride[3] = 1;
    t->stride[2] = SMALL_DV + 1;
    t->stride[1] = t->stride[2] * SMALL_HQ;
    t->stride[0] = t->stride[1] * T;
}

/* Gaps between tokens are no reason to copy. */
static void token_gap(struct scene *s)
{
    gqa_tensor *const t = &s->in.q_proj;
    t->stride[3] = 1;
    t->stride[2] = SMALL_DK;
    t->stride[1] = SMALL_DK * SMALL_HQ + 5;
    t->stride[0] = t->stride[1] * T;
}

static void present(struct scene *s)
{
    s->out.present_key_value.v = gqa_tensor_4d(memory[9], GQA_F32, B, SMALL_HKV, T, SMALL_DV);
}

static void lse(struct scene *s)
{
    s->out.lse = gqa_tensor_3d(memory[10], GQA_F32, B, T, SMALL_HQ);
}

static void tap(struct scene *s)
{
    s->in.tap = ignore;
}

static void gate_given(struct scene *s)
{
    s->in.gate_proj = heads(11, SMALL_HQ, SMALL_DV);
}

static void read_only(struct scene *s)
{
    memset(&s->in.k_proj, 0, sizeof s->in.k_proj);
    memset(&s->in.v_proj, 0, sizeof s->in.v_proj);
}

static void x_bf16(struct scene *s)
{
    s->in.hidden_states.dtype = GQA_BF16;
}

static void out_f16(struct scene *s)
{
    s->out.hidden_states.dtype = GQA_F16;
}

static void out_on_x(struct scene *s)
{
    s->out.hidden_states.data = s->in.hidden_states.data;
}

static void out_over_x(struct scene *s)
{
    s->out.hidden_states.data = memory[5] + SMALL_HIDDEN;
}

static void residual(struct scene *s)
{
    s->in.residual = rows(6);
}

static void residual_and_sum(struct scene *s)
{
    s->in.residual = rows(6);
    s->out.residual = rows(7);
}

static void attn_too(struct scene *s)
{
    s->out.attn = heads(3, SMALL_HQ, SMALL_DV);
}

/* --- the calls ------------------------------------------------------------------------------- */

/* From the projections to attn. */
static void start_projected(struct scene *s)
{
    s->in.q_proj = heads(0, SMALL_HQ, SMALL_DK);
    s->in.k_proj = heads(1, SMALL_HKV, SMALL_DK);
    s->in.v_proj = heads(2, SMALL_HKV, SMALL_DV);
    s->out.attn = heads(3, SMALL_HQ, SMALL_DV);
}

/* From hidden states to hidden states. */
static void start_hidden(struct scene *s)
{
    s->in.hidden_states = rows(5);
    s->out.hidden_states = rows(8);
}

/* gqa_attend on a cache. */
static void start_attend(struct scene *s)
{
    s->attend_in.query = heads(0, SMALL_HQ, SMALL_DK);
    s->attend_out.output = heads(3, SMALL_HQ, SMALL_DV);
}

static void query_bf16(struct scene *s)
{
    s->attend_in.query.dtype = GQA_BF16;
}

static void lse_alone(struct scene *s)
{
    memset(&s->attend_out.output, 0, sizeof s->attend_out.output);
    s->attend_out.lse = gqa_tensor_3d(memory[10], GQA_F32, B, T, SMALL_HQ);
}

static void (*base_config)(gqa_config *); /* before the change */
static void (*change_config)(gqa_config *);

static void edit(gqa_config *config)
{
    if (base_config != NULL) {
        base_config(config);
    }
    if (change_config != NULL) {
        change_config(config);
    }
}

static void check_changes(void (*config)(gqa_config *), void (*start)(struct scene *),
                          const struct change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct scene s;
        struct gqa__call call;
        gqa_error err;
        char word[32];
        gqa_status status;

        base_config = config;
        change_config = changes[i].config;
        small_layer_open(&s.small, edit);
        gqa_inputs_init(&s.in);
        gqa_output_init(&s.out);
        gqa_attend_inputs_init(&s.attend_in);
        gqa_attend_output_init(&s.attend_out);
        start(&s);
        if (changes[i].call != NULL) {
            changes[i].call(&s);
        }
        if (start == start_attend) {
            const struct gqa__attend_args args = {s.small.layer, s.small.cache, &s.attend_in,
                                                  &s.attend_out};
            status = gqa__attend_check(&call, &args, 0, &err);
        } else {
            const struct gqa__forward_args args = {s.small.layer, s.small.cache, &s.in, &s.out};
            status = gqa__forward_check(&call, &args, 0, &err);
        }
        if (status != GQA_OK) {
            fail_msg("%s: %s", changes[i].name, err.message);
        }
        describe(&call, word);
        if (strcmp(word, changes[i].want) != 0) {
            fail_msg("%s: \"%s\", expected \"%s\"", changes[i].name, word, changes[i].want);
        }
        small_layer_close(&s.small);
    }
}

static void from_projections(void **state)
{
    static const struct change changes[] = {
        {"all in place", NULL, NULL, "ccc - c - -- - ff"},
        {"gaps between tokens", NULL, token_gap, "ccc - c - -- - ff"},
        {"q in bf16", NULL, q_bf16, "ccc - c - -- - ff"},
        {"k in f16", NULL, k_f16, "coo - c - -- - lf"},
        {"a gap between heads of v", NULL, v_gap, "coo - c - -- - lf"},
        {"present asked for", NULL, present, "coo - c - -- - lf"},
        {"nothing appended", NULL, read_only, "c-- - c - -- - ff"},
        {"rope", rope, NULL, "ooo - c - -- - lf"},
        {"clip", clip, NULL, "ooo - c - -- - lf"},
        {"q and k normed", qk_norm, NULL, "ooo - c - -- - lf"},
        {"query temperature", temperature, NULL, "occ - c - -- - lf"},
        {"key multiplier", multiplier, NULL, "coo - c - -- - lf"},
        {"value scale", v_scale, NULL, "coo - c - -- - lf"},
        {"value norm", v_norm, NULL, "coo - c - -- - lf"},
        {"a gap between heads of attn", NULL, attn_gap, "ccc - o - -- - f"},
        {"lse", NULL, lse, "ccc - c o -- - f"},
        {"a gate", gate, gate_given, "ccc o o - -- - l"},
        {"a tap", NULL, tap, "ooo - o - -- - l"},
    };

    (void)state;
    check_changes(no_rope, start_projected, changes, sizeof changes / sizeof changes[0]);
}

static void from_hidden_states(void **state)
{
    static const struct change changes[] = {
        {"all in place", NULL, NULL, "ooo - o - cc c rfp"},
        {"attn asked for", NULL, attn_too, "ooo - o - cc c rp"},
        {"clip", clip, NULL, "ooo - o - cc c rfpx"},
        {"a gate in q", q_tail, NULL, "ooo o o - cc c sp"},
        {"x in bf16", NULL, x_bf16, "ooo - o - oo c rf"},
        {"out in f16", NULL, out_f16, "ooo - o - cc o rf"},
        {"out on x", NULL, out_on_x, "ooo - o - cc c rf"},
        {"out over x", NULL, out_over_x, "ooo - o - oo c rf"},
        {"residual", NULL, residual, "ooo - o - oo c rf"},
        {"residual and sum", NULL, residual_and_sum, "ooo - o - co c rfp"},
        {"post norm", post_norm, NULL, "ooo - o - cc c rf"},
        {"output multiplier", out_multiplier, NULL, "ooo - o - cc c rf"},
        {"no residual added", no_residual, NULL, "ooo - o - cc o rf"},
        {"a tap", NULL, tap, "ooo - o - oo o s"},
    };

    (void)state;
    check_changes(add_residual, start_hidden, changes, sizeof changes / sizeof changes[0]);
}

/* gqa_attend has no stages: what the config says of them does not matter. */
static void attend(void **state)
{
    static const struct change changes[] = {
        {"all in place", NULL, NULL, "c-- - c - -- - ff"},
        {"clip", clip, NULL, "c-- - c - -- - ff"},
        {"q and k normed", qk_norm, NULL, "c-- - c - -- - ff"},
        {"a gate", gate, NULL, "c-- - c - -- - ff"},
        {"q in bf16", NULL, query_bf16, "c-- - c - -- - ff"},
        {"lse alone", NULL, lse_alone, "c-- - - o -- - f"},
    };

    (void)state;
    check_changes(NULL, start_attend, changes, sizeof changes / sizeof changes[0]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_projections),
        cmocka_unit_test(from_hidden_states),
        cmocka_unit_test(attend),
    };

    return RUN_TESTS(argc, argv, tests);
}
