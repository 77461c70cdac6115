/* SPDX-License-Identifier: Apache-2.0 */
/* lent.c - see lent.h. */
#include "support/lent.h"

#include <stdlib.h>
#include <string.h>

#include "support/draw.h"

/* Outputs of one call, one after the other in result from *at on. */
static gqa_tensor next_output(struct lent *lent, size_t *at, int64_t tokens, int64_t heads,
                              int64_t dim)
{
    static float counted; /* while sizes are counted there is no result yet */
    float *data = lent->result != NULL ? lent->result + *at : &counted;

    *at += (size_t)(LENT_BATCH * tokens * (heads > 0 ? heads : 1) * dim);
    return heads > 0 ? gqa_tensor_4d(data, GQA_F32, LENT_BATCH, tokens, heads, dim)
                     : gqa_tensor_3d(data, GQA_F32, LENT_BATCH, tokens, dim);
}

static void set_outputs(struct lent *lent, size_t *at, int64_t tokens, gqa_output *out)
{
    const gqa_config *c = &lent->model.config;
    gqa_tensor *present[2] = {&out->present_key_value.k, &out->present_key_value.v};

    gqa_output_init(out);
    out->hidden_states = next_output(lent, at, tokens, 0, c->hidden_size);
    out->residual = next_output(lent, at, tokens, 0, c->hidden_size);
    out->lse = next_output(lent, at, tokens, 0, c->num_attention_heads);
    out->attn = next_output(lent, at, tokens, c->num_attention_heads, c->v_head_dim);
    out->cos_cache = next_output(lent, at, tokens, 0, c->head_dim / 2);
    out->sin_cache = next_output(lent, at, tokens, 0, c->head_dim / 2);
    for (int i = 0; i < 2; i++) {
        int64_t dim = i == 0 ? c->head_dim : c->v_head_dim;
        *present[i] = next_output(lent, at, c->num_key_value_heads, tokens, dim);
    }
}

/* Call 0 is the prefill, the others are steps. Returns its inputs' tokens. */
static int64_t set_inputs(struct lent *lent, int call, gqa_inputs *in)
{
    int64_t hidden = lent->model.config.hidden_size;
    int64_t tokens = call == 0 ? LENT_TOKENS : 1;
    int64_t first = call == 0 ? 0 : LENT_BATCH * (LENT_TOKENS + call - 1);

    gqa_inputs_init(in);
    in->hidden_states =
        gqa_tensor_3d(lent->x + first * hidden, GQA_F32, LENT_BATCH, tokens, hidden);
    in->residual =
        gqa_tensor_3d(lent->residual + first * hidden, GQA_F32, LENT_BATCH, tokens, hidden);
    return tokens;
}

static void enrich(gqa_config *config)
{
    config->input_norm = GQA_NORM_LAYER;
    config->post_norm = GQA_NORM_RMS;
    config->qk_norm_scope = GQA_QK_NORM_HEAD;
    config->qk_norm = GQA_NORM_RMS;
    config->v_norm = GQA_NORM_RMS;
    config->clip_qkv = 0.9f;
    config->gate = GQA_GATE_ELEMENT;
    config->query_temperature = GQA_QUERY_TEMPERATURE_LLAMA4;
    config->query_temperature_scale = 0.1f;
    config->query_temperature_floor = 16;
    config->attn_in_multiplier = 0.75f;
    config->attn_out_multiplier = 1.25f;
    config->key_multiplier = 0.9f;
    config->v_scale = 1.1f;
    config->add_residual = 1;
    config->learned_sinks_size = 1;
}

/* Memory for x, residual, the results and the workspace of the largest call. */
static bool make_room(struct lent *lent)
{
    size_t n = (size_t)LENT_ALL * (size_t)lent->model.config.hidden_size, at = 0;
    uint64_t state = 7;

    lent->x = calloc(n, sizeof *lent->x);
    lent->residual = calloc(n, sizeof *lent->residual);
    draw_fill(&state, lent->x, (int64_t)n, 1.0f);
    draw_fill(&state, lent->residual, (int64_t)n, 1.0f);
    for (int pass = 0; pass < 2; pass++) {
        at = 0;
        for (int call = 0; call <= LENT_STEPS; call++) {
            gqa_inputs in;
            gqa_output out;
            size_t size = 0;
            set_outputs(lent, &at, set_inputs(lent, call, &in), &out);
            if (pass == 1 && gqa_workspace_size(lent->layer, lent->cache, &in, &out, &size,
                                                &lent->err) != GQA_OK) {
                return false;
            }
            lent->size = size > lent->size ? size : lent->size;
        }
        if (pass == 0) {
            lent->floats = at;
            lent->result = calloc(at, sizeof *lent->result);
        }
    }
    lent->size = (lent->size + 63) / 64 * 64;
    lent->workspace = aligned_alloc(64, lent->size);
    return lent->workspace != NULL;
}

void lent_close(struct lent *lent)
{
    free(lent->x);
    free(lent->residual);
    free(lent->result);
    free(lent->workspace);
    gqa_cache_destroy(&lent->cache);
    gqa_destroy(&lent->layer);
    model_free(&lent->model);
}

bool lent_open(struct lent *lent, const gqa_runtime *runtime, gqa_isa isa, gqa_numerics numerics,
               enum lent_kind kind)
{
    gqa_cache_options options;

    memset(lent, 0, sizeof *lent);
    model_init(&lent->model);
    lent->model.config.isa = isa;
    lent->model.config.numerics = numerics;
    if (kind != LENT_PLAIN) {
        enrich(&lent->model.config);
    }
    model_fill(&lent->model);
    lent->model.weights.in_place = kind == LENT_IN_PLACE;
    if (gqa_create(&lent->layer, &lent->model.config, &lent->model.weights, runtime, &lent->err) !=
        GQA_OK) {
        lent_close(lent);
        return false;
    }
    gqa_cache_options_init(&options, lent->layer);
    options.max_sequences = LENT_BATCH;
    options.max_tokens = LENT_TOKENS + LENT_STEPS;
    options.page_size = 32;
    return gqa_cache_create(&lent->cache, lent->layer, &options, &lent->err) == GQA_OK &&
           make_room(lent);
}

bool lent_round(struct lent *lent)
{
    size_t at = 0;

    memset(lent->result, 0xff, lent->floats * sizeof *lent->result); /* NaN */
    for (int32_t b = 0; b < LENT_BATCH; b++) {
        if (gqa_cache_truncate(lent->cache, b, 0, &lent->err) != GQA_OK) {
            return false;
        }
    }
    for (int call = 0; call <= LENT_STEPS; call++) {
        gqa_inputs in;
        gqa_output out;
        set_outputs(lent, &at, set_inputs(lent, call, &in), &out);
        if (gqa_forward(lent->layer, lent->cache, &in, &out, lent->workspace, lent->size,
                        &lent->err) != GQA_OK) {
            return false;
        }
    }
    return true;
}
