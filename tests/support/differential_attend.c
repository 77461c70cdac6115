/* SPDX-License-Identifier: Apache-2.0 */
/* differential_attend.c - gqa_attend on plain keys against the oracle. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/differential.h"

struct plain {
    random_case *c;
    gqa_attend_inputs in;
    int batch, tokens, keys;
};

static gqa_tensor heads_of(struct plain *p, int n, int heads, int dim)
{
    random_case *c = p->c;
    int64_t shape[4] = {p->batch, n, heads, dim};
    bool drop = p->batch == 1 && random_below(c, 2) != 0;
    random_fill fill = {.dtype = random_type(c, OPT_ACTIVATION_TYPE),
                        .gaps = c->choice[OPT_STRIDES] == 1,
                        .scale = 1.0};
    return random_tensor(c, drop ? 3 : 4, drop ? shape + 1 : shape, fill);
}

/* Masks from 0 to 1, biases with some -inf. */
static gqa_tensor pairs_of(struct plain *p, gqa_dtype dtype, double rare, double value)
{
    random_case *c = p->c;
    int64_t shape[4] = {random_below(c, 2) != 0 ? p->batch : 1,
                        random_below(c, 2) != 0 ? c->config.num_attention_heads : 1, p->tokens,
                        p->keys + random_below(c, 3)};
    random_fill fill = {.dtype = dtype, .gaps = c->choice[OPT_STRIDES] == 1, .scale = 1.0};
    gqa_tensor t = random_tensor(c, 4, shape, fill);
    int64_t i[4];
    for (i[0] = 0; i[0] < shape[0]; i[0]++) {
        for (i[1] = 0; i[1] < shape[1]; i[1]++) {
            for (i[2] = 0; i[2] < shape[2]; i[2]++) {
                bool blind = random_below(c, 10) == 0;
                for (i[3] = 0; i[3] < shape[3]; i[3]++) {
                    if (blind || random_below(c, 1000) < (int)(rare * 1000)) {
                        random_set(&t, i, value);
                    }
                }
            }
        }
    }
    return t;
}

static void place_keys(struct plain *p)
{
    random_case *c = p->c;
    int32_t *lengths = random_memory(c, (size_t)p->batch, sizeof *lengths);
    int32_t *ids = random_memory(c, (size_t)(p->batch * p->keys), sizeof *ids);
    bool ragged = random_below(c, 2) != 0;
    bool spread = random_below(c, 2) != 0;
    for (int b = 0; b < p->batch; b++) {
        lengths[b] = random_below(c, p->keys + 1);
        for (int k = 0; k < p->keys; k++) {
            ids[b * p->keys + k] = (k > 0 ? ids[b * p->keys + k - 1] : 5) + 1 + random_below(c, 2);
        }
    }
    p->in.key_lengths = ragged ? lengths : NULL;
    p->in.key_position_ids = spread ? ids : NULL;
}

static void place_queries(struct plain *p)
{
    random_case *c = p->c;
    int cells = p->batch * p->tokens;
    int32_t *first = random_memory(c, (size_t)p->batch, sizeof *first);
    int32_t *count = random_memory(c, (size_t)p->batch, sizeof *count);
    int32_t *ids = random_memory(c, (size_t)cells, sizeof *ids);
    int32_t *begin = random_memory(c, (size_t)cells, sizeof *begin);
    int32_t *end = random_memory(c, (size_t)cells, sizeof *end);
    for (int b = 0; b < p->batch; b++) {
        first[b] = random_below(c, 2);
        count[b] = random_below(c, p->tokens - first[b] + 1);
    }
    for (int i = 0; i < cells; i++) {
        ids[i] = random_below(c, p->keys + 9);
        begin[i] = random_below(c, p->keys);
        end[i] = begin[i] + random_below(c, p->keys);
    }
    p->in.first_valid = random_below(c, 3) == 0 ? first : NULL;
    p->in.lengths = p->in.first_valid != NULL ? count : NULL;
    p->in.position_ids = random_below(c, 2) != 0 ? ids : NULL;
    if (c->choice[OPT_BOUNDS] != 0) {
        p->in.key_begin = begin;
        p->in.key_end = end;
    }
}

static void choose_inputs(struct plain *p)
{
    random_case *c = p->c;
    const gqa_config *g = &c->config;
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    bool heavy = c->batch * g->num_attention_heads * g->head_dim > 1000;
    gqa_attend_inputs_init(&p->in);
    p->batch = c->batch;
    p->tokens = 1 + random_below(c, 5);
    p->keys =
        random_below(c, 3) == 0 && !heavy ? 257 + random_below(c, 600) : 1 + random_below(c, 40);
    p->in.query = heads_of(p, p->tokens, g->num_attention_heads, g->head_dim);
    p->in.key = heads_of(p, p->keys, g->num_key_value_heads, g->head_dim);
    p->in.value = heads_of(p, p->keys, g->num_key_value_heads, dv);
    place_keys(p);
    place_queries(p);
    p->in.phase = (gqa_phase)c->choice[OPT_PHASE];
    p->in.leave_out_sinks = random_below(c, 2);
    if (c->choice[OPT_MASK] != 0) {
        p->in.mask = pairs_of(p, c->choice[OPT_MASK] <= 2 ? GQA_U8 : GQA_BITS, 0.25, 0.0);
    }
    if (c->choice[OPT_BIAS] != 0) {
        p->in.bias = pairs_of(p, random_type(c, OPT_ACTIVATION_TYPE),
                              c->choice[OPT_BIAS] == 3 ? 0.2 : 0.0, -(double)INFINITY);
    }
    if (p->keys > 300) {
        p->in.range_begin = gqa_fold_block() * random_below(c, 2);
        p->in.range_end = random_below(c, 2) != 0 ? 2 * gqa_fold_block() : 0;
    }
}

/* l and o of a state say what output and lse without sinks do: o / l, m ln 2 + ln l. */
static void compare_states(differential_place *place, const gqa_attend_output *out,
                           const oracle_result *want)
{
    const float *m = out->states.m.data;
    const float *l = out->states.l.data;
    const float *o = out->states.o.data;
    int hq = place->c->config.num_attention_heads;
    int dv = want->width[GQA_STAGE_ATTN] / hq;
    place->what = "states";
    for (int row = 0; row < want->batch * want->tokens * hq; row++) {
        place->i = row;
        if (!want->valid[row / hq]) { /* padding: the state of no keys */
            differential_number(place, (double)m[row], (oracle_num){-(double)INFINITY, 0.0},
                                GQA_F32);
            differential_number(place, (double)l[row], (oracle_num){0.0, 0.0}, GQA_F32);
            for (int d = 0; d < dv; d++) {
                differential_number(place, (double)o[row * dv + d], (oracle_num){0.0, 0.0},
                                    GQA_F32);
            }
            continue;
        }
        oracle_num lse = want->lse[row];
        lse.e += isfinite(lse.v) ? 4 * ORACLE_U * (fabs(lse.v) + 1.0) : 0.0;
        differential_number(place, (double)m[row] * 0.69314718055994531 + log((double)l[row]), lse,
                            GQA_F32);
        for (int d = 0; d < dv; d++) {
            double x =
                l[row] == 0.0f ? (double)o[row * dv + d] : (double)o[row * dv + d] / (double)l[row];
            differential_number(place, x, want->stage[GQA_STAGE_ATTN][row * dv + d], GQA_F32);
        }
    }
}

static void compare(struct plain *p, const gqa_layer *layer, const oracle_layer *oracle,
                    differential_place *place)
{
    random_case *c = p->c;
    int hq = c->config.num_attention_heads;
    oracle_result want;
    gqa_attend_output out;
    gqa_error err = {0};
    oracle_attend(oracle, NULL, &p->in, &want);
    int width = want.width[GQA_STAGE_ATTN];
    size_t rows = (size_t)(p->batch * p->tokens);
    bool states = p->in.leave_out_sinks != 0;
    gqa_attend_output_init(&out);
    float *attn = random_memory(c, rows * (size_t)width, 4);
    float *lse = random_memory(c, rows * (size_t)hq, 4);
    out.output = gqa_tensor_4d(attn, GQA_F32, p->batch, p->tokens, hq, width / hq);
    out.lse = gqa_tensor_3d(lse, GQA_F32, p->batch, p->tokens, hq);
    if (states) {
        out.states.m =
            gqa_tensor_3d(random_memory(c, rows * (size_t)hq, 4), GQA_F32, p->batch, p->tokens, hq);
        out.states.l =
            gqa_tensor_3d(random_memory(c, rows * (size_t)hq, 4), GQA_F32, p->batch, p->tokens, hq);
        out.states.o = gqa_tensor_4d(random_memory(c, rows * (size_t)width, 4), GQA_F32, p->batch,
                                     p->tokens, hq, width / hq);
    }
    if (gqa_attend(layer, NULL, &p->in, &out, NULL, 0, &err) != GQA_OK) {
        fprintf(stderr, "gqa_attend: %s\n", err.message);
        place->stats->failures++;
        random_print(stderr, c);
    }
    for (int row = 0; row < (int)rows && place->stats->failures < 100; row++) {
        place->b = row / p->tokens;
        place->t = row % p->tokens;
        place->what = "attend lse";
        for (place->i = 0; place->i < hq; place->i++) {
            differential_number(place, (double)lse[row * hq + place->i],
                                want.lse[row * hq + place->i], GQA_F32);
        }
        place->what = "attend output";
        for (place->i = 0; place->i < width; place->i++) {
            differential_number(place, (double)attn[row * width + place->i],
                                want.stage[GQA_STAGE_ATTN][row * width + place->i], GQA_F32);
        }
    }
    if (states) {
        compare_states(place, &out, &want);
    }
    form_attend(c, place, layer, &p->in, &out);
    oracle_result_free(&want);
}

void differential_attend(random_case *c, gqa_backend backend, differential_stats *stats)
{
    struct plain p = {.c = c};
    differential_place place = {
        .c = c, .stats = stats, .backend = backend, .stage = GQA_STAGE_ATTN};
    gqa_config config = c->config;
    gqa_layer *layer = NULL;
    oracle_layer oracle;
    uint64_t state = c->state;
    config.backend = backend;
    if (gqa_create(&layer, &config, &c->weights, NULL, NULL) != GQA_OK) {
        return; /* reported by differential_run */
    }
    choose_inputs(&p);
    oracle_layer_init(&oracle, &c->config, &c->weights);
    compare(&p, layer, &oracle, &place);
    oracle_layer_free(&oracle);
    gqa_destroy(&layer);
    c->state = state; /* the next backend gets the same numbers */
}
