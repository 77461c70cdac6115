/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - see health.h. */
#include "layer/health.h"

#include "base/memory.h"
#include "base/number.h"
#include "base/tensor.h"
#include "cache/stored.h"
#include "layer/stages.h"

enum { PIECE = 256 }; /* values that are converted at once */

/* n values of a tensor, from the element offset on. */
static void count_run(gqa_health_values *count, const gqa_tensor *t, int64_t offset, int64_t n)
{
    float x[PIECE];

    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = gqa__min(PIECE, n - done);
        gqa__load_f32(x, t, offset + done, piece);
        gqa__health_values(count, x, piece);
    }
}

/* The valid tokens of a tensor [B, T, width] or [B, T, heads, width]. */
static void count_tokens(const struct gqa__call *call, const gqa_tensor *t,
                         gqa_health_values *count)
{
    const int64_t heads = t->rank == 4 ? t->shape[2] : 1;
    const int64_t head_step = t->rank == 4 ? t->stride[2] : 0;

    for (int32_t b = 0; b < call->batch && gqa__present(t); b++) {
        const struct gqa__batch_entry *const entry = &call->entries[b];
        for (int32_t i = 0; i < entry->n && entry->sequence >= 0; i++) {
            const int64_t at = entry->tensor_b * t->stride[0] +
                               (entry->tensor_t + entry->first_valid + i) * t->stride[1];
            for (int64_t h = 0; h < heads; h++) {
                count_run(count, t, at + h * head_step, t->shape[t->rank - 1]);
            }
        }
    }
}

/* Values of V that numerics bf16 calls large. */
static int64_t count_large(const struct gqa__params *params, const float *v, int64_t n)
{
    const bool bf16 = params->config.numerics == GQA_NUMERICS_BF16;
    int64_t large = 0;

    for (int64_t i = 0; i < n; i++) {
        const uint32_t size = gqa__f32_bits(bf16 ? gqa__round_bf16(v[i]) : v[i]) & 0x7fffffffu;
        large += size >= GQA__LARGE_BF16 << 16 && size < 0x7f800000u;
    }
    return large;
}

/* The caller's plain keys and values, as far as the call's range goes. */
static void count_plain(const struct gqa__call *call, struct gqa__health *health)
{
    const struct gqa__attend *const attend = &call->attend;
    const struct gqa__shape *const shape = &call->params->shape;
    float k[GQA__HEAD_DIM_MAX], v[GQA__HEAD_DIM_MAX];

    for (int32_t b = 0; b < call->batch; b++) {
        const struct gqa__kv_view *const view = &call->views[b];
        const int32_t all = call->entries[b].sequence >= 0 ? view->length : 0;
        const int32_t end = attend->range_end > 0 ? (int32_t)gqa__min(attend->range_end, all) : all;
        for (int32_t i = attend->range_begin; i < end; i++) {
            for (int32_t head = 0; head < shape->hkv; head++) {
                gqa__view_load(view, head, i, k, v);
                gqa__health_values(&health->seen.k, k, shape->dk);
                gqa__health_values(&health->seen.v, v, shape->dv);
                health->seen.large_v += count_large(call->params, v, shape->dv);
            }
        }
    }
}

void gqa__health_inputs(const struct gqa__call *call, struct gqa__health *health)
{
    const gqa_inputs *const in = &call->in;
    gqa_health *const seen = &health->seen;

    if (call->alone) {
        if (call->cache == NULL) {
            count_plain(call, health);
        }
        return;
    }
    count_tokens(call, &in->hidden_states, &seen->hidden_states);
    count_tokens(call, &in->residual, &seen->residual);
    count_tokens(call, &in->q_proj, &seen->q_proj);
    count_tokens(call, &in->k_proj, &seen->k_proj);
    count_tokens(call, &in->v_proj, &seen->v_proj);
    count_tokens(call, &in->gate_proj, &seen->gate_proj);
}

void gqa__health_block(struct gqa__spine *spine, int32_t runs, int makes)
{
    const struct gqa__params *const params = spine->call->params;
    const struct gqa__shape *const shape = &params->shape;
    gqa_health *const seen = &spine->health->seen;
    const int64_t v_values = (int64_t)shape->hkv * shape->dv;

    for (int32_t r = 0; r < runs; r++) {
        const struct gqa__token_run *const run = &spine->runs[r];
        for (int32_t i = 0; i < run->n; i++) {
            if ((makes & GQA__MAKE_Q) != 0) {
                gqa__health_values(&seen->q, gqa__place_vector(&spine->at.q, run, i),
                                   (int64_t)shape->hq * shape->dk);
            }
            if ((makes & GQA__MAKE_KV) != 0) {
                const float *const v = gqa__place_vector(&spine->at.v, run, i);
                gqa__health_values(&seen->k, gqa__place_vector(&spine->at.k, run, i),
                                   (int64_t)shape->hkv * shape->dk);
                gqa__health_values(&seen->v, v, v_values);
                seen->large_v += count_large(params, v, v_values);
            }
        }
    }
}

/* Token i of a run, of which index `first` is the first token's: K and V of a head. */
static void count_stored(struct gqa__spine *spine, const struct gqa__token_run *run, int32_t i,
                         int32_t first, int32_t head)
{
    const struct gqa__call *const call = spine->call;
    const struct gqa__shape *const shape = &call->params->shape;
    const float *const k = gqa__place_vector(&spine->at.k, run, i) + (int64_t)head * shape->dk;
    const float *const v = gqa__place_vector(&spine->at.v, run, i) + (int64_t)head * shape->dv;
    const struct gqa__row_at at_k = {head, first + i, false}, at_v = {head, first + i, true};
    gqa_health *const seen = &spine->health->seen;

    if (call->in_blocks) {
        gqa__stored_in_host(&seen->stored_k, k, &call->views[run->b], &at_k);
        gqa__stored_in_host(&seen->stored_v, v, &call->views[run->b], &at_v);
    } else {
        const int32_t sequence = call->entries[run->b].sequence;
        gqa__stored_in_cache(&seen->stored_k, k, spine->cache, sequence, &at_k);
        gqa__stored_in_cache(&seen->stored_v, v, spine->cache, sequence, &at_v);
    }
}

void gqa__health_appended(struct gqa__spine *spine, int32_t runs)
{
    const struct gqa__call *const call = spine->call;
    const int64_t *const slots = call->in_blocks ? call->blocks.slot_mapping : NULL;

    for (int32_t r = 0; r < runs; r++) {
        const struct gqa__token_run *const run = &spine->runs[r];
        const struct gqa__batch_entry *const entry = &call->entries[run->b];
        const int32_t first = entry->past + run->first - entry->first_valid;
        for (int32_t i = 0; i < run->n; i++) {
            const bool written =
                slots == NULL || slots[gqa__call_token(call, run->b, run->first + i)] >= 0;
            for (int32_t head = 0; head < call->params->shape.hkv && written; head++) {
                count_stored(spine, run, i, first, head);
            }
        }
    }
}

void gqa__health_outputs(const struct gqa__call *call, struct gqa__health *health)
{
    count_tokens(call, &call->out.hidden_states, &health->seen.output);
    count_tokens(call, &call->out.attn, &health->seen.attn);
}
