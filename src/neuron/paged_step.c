/* SPDX-License-Identifier: Apache-2.0 */
/* paged_step.c - the core of the paged kernel: rows of one query head meet a tile of keys
 * (flash_attn_core.py). The formulas are in paged_schedule.c. */
#include "neuron/paged.h"

#include "base/memory.h"
#include "base/tensor.h"
#include "neuron/flash_state.h"

static const float MASKED = -9984.0f; /* instead of minus infinity */

enum { SUB_TILE = GQA__PSUM_FREE }; /* B_F_SIZE: keys that are scored, and summed, at once */

gqa_neuron_tile gqa__paged_event(const struct gqa__paged_step *step, gqa_neuron_event kind)
{
    gqa_neuron_tile tile = gqa__neuron_event(step->worker, kind);

    tile.part = step->schedule >= 0 ? GQA_NEURON_PRIOR : GQA_NEURON_ACTIVE;
    tile.masking = GQA_NEURON_MASKING_TENSOR;
    tile.head = step->head;
    tile.schedule = step->schedule;
    tile.query = step->first;
    tile.rows = step->rows;
    tile.key = (int32_t)step->plan->context;
    if (step->schedule >= 0) {
        const int64_t blocks = gqa__paged_blocks(step->call);
        tile.key = step->plan->schedule.tile_block_table_offsets[step->schedule] *
                   gqa__paged_block_size(step->call);
        tile.blocks = step->plan->schedule.tile_block_tables + step->schedule * blocks;
        tile.blocks_count = (int32_t)blocks;
    }
    tile.keys = step->keys;
    tile.score_step = step->keys;
    return tile;
}

/* Rows of q: bf16, times the scale in f32, bf16. */
static void load_paged_query(const struct gqa__paged_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const int64_t n = (int64_t)step->rows * call->dim;
    struct gqa__neuron_rows rows = {&call->in.q, 0, step->first, step->rows, step->head};

    gqa__neuron_load(&rows, step->x->q);
    gqa__engine_round_all(GQA_BF16, step->x->q, n);
    for (int64_t i = 0; i < n; i++) {
        step->x->q[i] = gqa__round_bf16(step->x->q[i] * call->in.scale);
    }
    if (gqa__present(&call->out.q_scaled)) {
        rows.tensor = &call->out.q_scaled;
        gqa__neuron_store(&rows, step->x->q);
    }
}

/* May the row (of the step) see column c? By tile mask or active mask. */
static bool sees(const struct gqa__paged_step *step, int32_t r, int32_t c)
{
    const gqa_neuron_call *const in = &step->call->in;
    const gqa_neuron_schedule *const schedule = &step->plan->schedule;
    const int64_t t = step->schedule;
    const int32_t row = step->first + r;

    if (t < 0) {
        const int32_t *const request = step->plan->request;
        return request[row] >= 0 && request[row] == request[c] && c <= row;
    }
    return schedule->tile_q_seq_ids[t * in->q_tile + row -
                                    (int64_t)schedule->tile_q_indices[t] * in->q_tile] ==
           schedule->tile_kv_seq_ids[t * in->kv_tile + schedule->key_order[c]];
}

/* Scores of one sub-tile, masked. Of the active tile those right of the diagonal are not computed:
 * q_tile * 128 >= k_i * 512. */
static void score_paged_keys(const struct gqa__paged_step *step, int32_t first, int32_t keys)
{
    const struct gqa__neuron *const call = step->call;
    const struct gqa__paged_scratch *const x = step->x;
    const bool computed = step->schedule >= 0 || step->first >= first;
    const struct gqa__psum scores = {call->in.accumulation,
                                     x->q,
                                     x->k + first,
                                     x->s + first,
                                     call->dim,
                                     step->keys,
                                     step->keys,
                                     step->rows,
                                     call->dim,
                                     keys};
    gqa_neuron_tile tell = gqa__paged_event(step, GQA_NEURON_MM1);
    int64_t visible = 0;

    if (computed) {
        gqa__psum_group(&scores);
    }
    for (int32_t r = 0; r < step->rows; r++) {
        float *const s = x->s + (int64_t)r * step->keys + first;
        int32_t seen = 0;
        for (int32_t c = 0; c < keys; c++) {
            const bool keep = computed && sees(step, r, first + c);
            s[c] = keep ? s[c] : MASKED;
            seen += keep;
        }
        visible += seen;
        tell.rows_without_keys += seen == 0;
    }
    tell.fate = !computed                              ? GQA_NEURON_FILLED
                : visible == 0                         ? GQA_NEURON_ALL_MASKED
                : visible < (int64_t)step->rows * keys ? GQA_NEURON_MASKED
                                                       : GQA_NEURON_WHOLE;
    tell.tile = first / SUB_TILE;
    tell.key += first;
    tell.keys = keys;
    tell.s = x->s + first;
    tell.madds = computed ? (int64_t)step->rows * keys * call->dim : 0;
    gqa__neuron_emit(step->worker, &tell);
}

/* m, alpha, P, its sum and l of a row. */
static void update_paged_row(const struct gqa__paged_step *step, int32_t r)
{
    const struct gqa__paged_scratch *const x = step->x;
    const gqa_neuron_accumulation accumulation = step->call->in.accumulation;
    const float *const s = x->s + (int64_t)r * step->keys;
    float *const p = x->p + (int64_t)r * step->keys;
    const float most = gqa__engine_max(s, step->keys);
    const float m = most > step->m[r] ? most : step->m[r];
    int32_t pieces = 0;

    for (int32_t c = 0; c < step->keys; c++) {
        p[c] = gqa__engine_exp(s[c] - m);
    }
    for (int32_t c = 0; c < step->keys; c += SUB_TILE) {
        x->sums[pieces++] =
            gqa__engine_sum(accumulation, p + c, gqa__min(SUB_TILE, step->keys - c));
    }
    gqa__engine_round_all(GQA_BF16, p, step->keys);
    x->alpha[r] = gqa__engine_exp(step->m[r] - m);
    x->row_sum[r] = gqa__engine_sum(accumulation, x->sums, pieces);
    step->m[r] = m;
    step->l[r] = m + gqa__engine_log(gqa__engine_exp(step->l[r] - m) + x->row_sum[r]);
}

/* o = o alpha + P v */
static void accumulate_paged_output(const struct gqa__paged_step *step)
{
    const struct gqa__neuron *const call = step->call;
    const struct gqa__paged_scratch *const x = step->x;
    const struct gqa__psum values = {call->in.accumulation,
                                     x->p,
                                     x->v,
                                     x->pv,
                                     step->keys,
                                     call->dim,
                                     call->dim,
                                     step->rows,
                                     step->keys,
                                     call->dim};

    gqa__psum_group(&values);
    gqa__flash_add(step->o, x->alpha, x->pv, step->rows, call->dim);
}

void gqa__paged_step_run(const struct gqa__paged_step *step, int64_t loaded_bytes)
{
    const struct gqa__paged_scratch *const x = step->x;
    const int64_t q_values = (int64_t)step->rows * step->call->dim;
    gqa_neuron_tile tell = gqa__paged_event(step, GQA_NEURON_EXP);

    load_paged_query(step);
    for (int32_t first = 0; first < step->keys; first += SUB_TILE) {
        score_paged_keys(step, first, (int32_t)gqa__min(SUB_TILE, step->keys - first));
    }
    for (int32_t r = 0; r < step->rows; r++) {
        update_paged_row(step, r);
    }
    tell.p = x->p;
    tell.row_sum = x->row_sum;
    gqa__neuron_emit(step->worker, &tell);
    accumulate_paged_output(step);
    tell = gqa__paged_event(step, GQA_NEURON_MM2);
    tell.p = x->p;
    tell.madds = q_values * step->keys;
    gqa__neuron_emit(step->worker, &tell);
    tell = gqa__paged_event(step, GQA_NEURON_LARGE);
    tell.hbm_bytes = loaded_bytes + q_values * (int64_t)gqa__dtype_size(step->call->io);
    tell.s = x->s;
    tell.p = x->p;
    tell.m = step->m;
    tell.l = step->l;
    tell.alpha = x->alpha;
    tell.row_sum = x->row_sum;
    tell.o = step->o;
    gqa__neuron_emit(step->worker, &tell);
}
