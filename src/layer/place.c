/* SPDX-License-Identifier: Apache-2.0 */
/* place.c - see place.h: all rules that say when the caller's tensors are used where they are. */
#include "layer/place.h"

#include <string.h>

#include "layer/stages.h"
#include "stage/segment.h"
#include "stage/stage.h"

/* Nobody rounds or looks at what passes: the caller's memory may be used where it is. */
static bool untouched(const struct gqa__call *call)
{
    return call->in.tap == NULL && gqa__stages_in_place(call->params);
}

/* f32 rows whose heads lie side by side. */
static bool in_place(const gqa_tensor *t, int64_t dim)
{
    return gqa__present(t) && t->dtype == GQA_F32 && t->stride[2] == dim;
}

/* The same, or rows of 16 bits, which the kernels of backend cpu read and write as they are; who
 * counts values for a report of health sees f32 alone. */
static bool attended_in_place(const struct gqa__call *call, const gqa_tensor *t, int64_t dim)
{
    return gqa__present(t) && t->stride[2] == dim &&
           (t->dtype == GQA_F32 ||
            (call->params->backend == GQA_BACKEND_CPU && call->out.health == NULL));
}

/* step 0: nowhere. */
static struct gqa__place in_workspace(struct gqa__arena *arena, int64_t n, int64_t step)
{
    struct gqa__place place = {NULL, NULL, step};

    if (step > 0) {
        place.buffer = gqa__arena_take(arena, n * step, sizeof *place.buffer);
    }
    return place;
}

/* --- q, k, v --------------------------------------------------------------------------------- */

/* The caller's q is what the scores see: no stage between changes it, and no tap asks for it. In
 * gqa_attend there are no stages. */
static bool q_in_place(const struct gqa__call *call)
{
    const gqa_config *const config = &call->params->config;

    if (call->from_hidden || !attended_in_place(call, &call->in.q_proj, call->params->shape.dk)) {
        return false;
    }
    return (call->alone && gqa__stages_in_place(call->params)) ||
           (config->clip_qkv == 0.0f && config->qk_norm_scope == GQA_QK_NORM_OFF &&
            config->rope == GQA_ROPE_NONE &&
            config->query_temperature == GQA_QUERY_TEMPERATURE_NONE && untouched(call));
}

/* The caller's k and v are what the cache keeps: as above, and nobody asks for a copy. */
static bool kv_in_place(const struct gqa__call *call)
{
    const gqa_config *const config = &call->params->config;

    return !call->from_hidden && in_place(&call->in.k_proj, call->params->shape.dk) &&
           in_place(gqa__call_v(call), call->params->shape.dv) && config->clip_qkv == 0.0f &&
           config->key_multiplier == 0.0f && config->v_scale == 0.0f &&
           config->qk_norm_scope == GQA_QK_NORM_OFF && config->v_norm == GQA_NORM_NONE &&
           config->rope == GQA_ROPE_NONE && !gqa__present(&call->out.present_key_value.k) &&
           !gqa__present(&call->out.present_key_value.v) && untouched(call);
}

/* Logits of the gate for a token. */
static int64_t gates_of(const struct gqa__call *call)
{
    const struct gqa__shape *const shape = &call->params->shape;

    return call->alone ? 0 : (int64_t)shape->hq * shape->gate_dim;
}

/* From the caller, or split out of a projection's rows. */
static void place_qkv(struct gqa__places *places, const struct gqa__call *call, int64_t n,
                      struct gqa__arena *arena)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t heads = call->append ? shape->hkv : 0;
    const bool q_final = q_in_place(call);
    const bool kv_final = kv_in_place(call);

    places->q = in_workspace(arena, n, q_final ? 0 : (int64_t)shape->hq * shape->dk);
    places->k = in_workspace(arena, n, kv_final ? 0 : heads * shape->dk);
    places->v = in_workspace(arena, n, kv_final ? 0 : heads * shape->dv);
    places->q.tensor = q_final ? &call->in.q_proj : NULL;
    places->k.tensor = kv_final ? &call->in.k_proj : NULL;
    places->v.tensor = kv_final ? gqa__call_v(call) : NULL;
    places->source = call->from_hidden ? GQA__SOURCE_SPLIT : GQA__SOURCE_CALLER;
    if (q_final && (kv_final || !call->append) && gates_of(call) == 0) {
        places->source = GQA__SOURCE_FINAL;
    }
}

/* Where a projection makes q, k and v: its rows as they are, or, where the layout or a tap asks for
 * it, packed. */
static void place_projection(struct gqa__places *places, const struct gqa__call *call, int64_t n,
                             void *scratch, struct gqa__arena *arena)
{
    const bool plain = call->from_hidden && untouched(call);
    struct gqa__qkv rows;

    places->product_clip = 0.0f;
    if (plain && call->params->config.gate != GQA_GATE_Q_TAIL) {
        places->product_clip = call->params->config.clip_qkv;
    }
    if (plain && gqa__stage_qkv_rows(call->params, scratch, &rows)) {
        places->source = GQA__SOURCE_ROWS;
        places->q = (struct gqa__place){NULL, rows.q.x, rows.q.step};
        places->k = (struct gqa__place){NULL, rows.k.x, rows.k.step};
        places->v = (struct gqa__place){NULL, rows.v.x, rows.v.step};
        return;
    }
    place_qkv(places, call, n, arena);
}

/* --- attention ------------------------------------------------------------------------------- */

/* The attention's output is the call's: no gate and no projection follow, and no tap. */
static bool attn_in_place(const struct gqa__call *call)
{
    return attended_in_place(call, &call->out.attn, call->params->shape.dv) && !call->project &&
           gates_of(call) == 0 && untouched(call);
}

static void place_attention(struct gqa__places *places, const struct gqa__call *call, int64_t n,
                            struct gqa__arena *arena)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t tokens = (int64_t)call->outer * call->tokens;

    places->attn_streams = false;
    if (attn_in_place(call)) {
        places->attn = (struct gqa__place){&call->out.attn, NULL, 0};
        places->attn_streams = tokens * call->out.attn.stride[1] > GQA__STREAM_VALUES;
    } else {
        const bool wanted = call->project || gqa__present(&call->out.attn);
        places->attn = in_workspace(arena, n, wanted ? (int64_t)shape->hq * shape->dv : 0);
    }
    places->attn_final = untouched(call) && gates_of(call) == 0 && !gqa__present(&call->out.lse) &&
                         (places->attn.tensor != NULL || !gqa__present(&call->out.attn));
    places->lse = in_workspace(arena, n, gqa__present(&call->out.lse) ? shape->hq : 0);
}

int64_t gqa__places_staged(const struct gqa__call *call)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t q = q_in_place(call) ? 0 : (int64_t)shape->hq * shape->dk;
    const int64_t attn = attn_in_place(call) ? 0 : (int64_t)shape->hq * shape->dv;

    return q + attn;
}

/* --- the sum and the result ------------------------------------------------------------------ */

static bool is_f32(const gqa_tensor *t)
{
    return gqa__present(t) && t->dtype == GQA_F32;
}

static bool apart(const gqa_tensor *a, const gqa_tensor *b)
{
    return !gqa__present(b) || !gqa__tensor_overlap(a, b);
}

/* Each token's row in one is its row in the other, or they share nothing. */
static bool apart_or_same(const gqa_tensor *a, const gqa_tensor *b)
{
    return apart(a, b) ||
           (a->data == b->data && is_f32(b) && memcmp(a->stride, b->stride, sizeof a->stride) == 0);
}

/* Nothing is written over the tensor between the norm and the end of the layer but, in the end, a
 * token's own row. */
static bool outlives(const struct gqa__call *call, const gqa_tensor *t)
{
    const gqa_output *const out = &call->out;

    return apart_or_same(t, &out->hidden_states) && apart_or_same(t, &out->residual) &&
           apart(t, &out->attn) && apart(t, &out->lse) && apart(t, &out->cos_cache) &&
           apart(t, &out->sin_cache) && apart(t, &out->present_key_value.k) &&
           apart(t, &out->present_key_value.v);
}

/* Without a residual the sum lies in input.hidden_states, else in output.residual. The result is
 * written where the caller wants it if the sum is added to it. */
static void place_sum(struct gqa__places *places, const struct gqa__call *call, int64_t n,
                      struct gqa__arena *arena)
{
    const gqa_config *const config = &call->params->config;
    const bool wanted = call->need_sum || call->from_hidden || call->project;
    const int64_t hidden = wanted ? call->params->shape.hidden : 0;
    const bool given = gqa__present(&call->in.residual);
    const gqa_tensor *const t = given ? &call->out.residual : &call->in.hidden_states;
    const gqa_tensor *const out = &call->out.hidden_states;
    const bool plain = untouched(call);

    places->kv_sum = in_workspace(arena, n, hidden);
    places->sum = places->kv_sum;
    places->x = in_workspace(arena, n, hidden);
    places->out = places->x;
    if (plain && is_f32(t) && outlives(call, t)) {
        places->sum.tensor = t;
        places->kv_sum.tensor = given ? NULL : t;
    }
    if (plain && is_f32(out) && config->add_residual) {
        places->out.tensor = out;
    }
    places->sum_in_product = places->out.tensor != NULL && places->sum.tensor != NULL &&
                             apart(t, out) && config->post_norm == GQA_NORM_NONE &&
                             config->attn_out_multiplier == 0.0f;
}

void gqa__places_carve(struct gqa__places *places, const struct gqa__call *call, int64_t n,
                       void *scratch, struct gqa__arena *arena)
{
    const int64_t pairs = call->alone ? 0 : call->params->rope.pairs;

    place_projection(places, call, n, scratch, arena);
    places->gate = in_workspace(arena, n, gates_of(call));
    places->cos = in_workspace(arena, n, pairs);
    places->sin = in_workspace(arena, n, pairs);
    place_attention(places, call, n, arena);
    place_sum(places, call, n, arena);
}
