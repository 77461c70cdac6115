/* SPDX-License-Identifier: Apache-2.0 */
/* hosted_layer.c - see hosted_layer.h. */
#include "support/hosted_layer.h"

#include <stdlib.h>
#include <string.h>

#include "support/random.h"

/* Outputs of one call, one after the other in result from *at on. */
static gqa_tensor next_output(struct hosted_layer *hosted, size_t *at, int64_t tokens,
                              int64_t heads, int64_t dim)
{
    static float counted; /* while sizes are counted there is no result yet */
    float *data = hosted->result != NULL ? hosted->result + *at : &counted;

    *at += (size_t)(HOSTED_BATCH * tokens * (heads > 0 ? heads : 1) * dim);
    return heads > 0 ? gqa_tensor_4d(data, GQA_F32, HOSTED_BATCH, tokens, heads, dim)
                     : gqa_tensor_3d(data, GQA_F32, HOSTED_BATCH, tokens, dim);
}

static void set_outputs(struct hosted_layer *hosted, size_t *at, int64_t tokens, gqa_output *out)
{
    const gqa_config *c = &hosted->model.config;
    gqa_tensor *present[2] = {&out->present_key_value.k, &out->present_key_value.v};

    gqa_output_init(out);
    out->hidden_states = next_output(hosted, at, tokens, 0, c->hidden_size);
    out->residual = next_output(hosted, at, tokens, 0, c->hidden_size);
    out->lse = next_output(hosted, at, tokens, 0, c->num_attention_heads);
    out->attn = next_output(hosted, at, tokens, c->num_attention_heads, c->v_head_dim);
    out->cos_cache = next_output(hosted, at, tokens, 0, c->head_dim / 2);
    out->sin_cache = next_output(hosted, at, tokens, 0, c->head_dim / 2);
    for (int i = 0; i < 2; i++) {
        int64_t dim = i == 0 ? c->head_dim : c->v_head_dim;
        *present[i] = next_output(hosted, at, c->num_key_value_heads, tokens, dim);
    }
}

/* Call 0 is the prefill, the others are steps. Returns its inputs' tokens. */
static int64_t set_inputs(struct hosted_layer *hosted, int call, gqa_inputs *in)
{
    int64_t hidden = hosted->model.config.hidden_size;
    int64_t tokens = call == 0 ? HOSTED_TOKENS : 1;
    int64_t first = call == 0 ? 0 : HOSTED_BATCH * (HOSTED_TOKENS + call - 1);

    gqa_inputs_init(in);
    in->hidden_states =
        gqa_tensor_3d(hosted->x + first * hidden, GQA_F32, HOSTED_BATCH, tokens, hidden);
    in->residual =
        gqa_tensor_3d(hosted->residual + first * hidden, GQA_F32, HOSTED_BATCH, tokens, hidden);
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
static bool make_room(struct hosted_layer *hosted)
{
    size_t n = (size_t)HOSTED_ALL * (size_t)hosted->model.config.hidden_size, at = 0;
    uint64_t state = 7;

    hosted->x = calloc(n, sizeof *hosted->x);
    hosted->residual = calloc(n, sizeof *hosted->residual);
    random_floats(&state, hosted->x, (int64_t)n, 1.0f);
    random_floats(&state, hosted->residual, (int64_t)n, 1.0f);
    for (int pass = 0; pass < 2; pass++) {
        at = 0;
        for (int call = 0; call <= HOSTED_STEPS; call++) {
            gqa_inputs in;
            gqa_output out;
            size_t size = 0;
            set_outputs(hosted, &at, set_inputs(hosted, call, &in), &out);
            if (pass == 1 && gqa_workspace_size(hosted->layer, hosted->cache, &in, &out, &size,
                                                &hosted->err) != GQA_OK) {
                return false;
            }
            hosted->size = size > hosted->size ? size : hosted->size;
        }
        if (pass == 0) {
            hosted->floats = at;
            hosted->result = calloc(at, sizeof *hosted->result);
        }
    }
    hosted->size = (hosted->size + 63) / 64 * 64;
    hosted->workspace = aligned_alloc(64, hosted->size);
    return hosted->workspace != NULL;
}

void hosted_close(struct hosted_layer *hosted)
{
    free(hosted->x);
    free(hosted->residual);
    free(hosted->result);
    free(hosted->workspace);
    gqa_cache_destroy(&hosted->cache);
    gqa_destroy(&hosted->layer);
    weight_set_free(&hosted->model);
}

bool hosted_open(struct hosted_layer *hosted, const gqa_runtime *runtime, gqa_isa isa,
                 gqa_numerics numerics, enum hosted_kind kind)
{
    gqa_cache_options options;

    memset(hosted, 0, sizeof *hosted);
    small_set_init(&hosted->model);
    hosted->model.config.isa = isa;
    hosted->model.config.numerics = numerics;
    if (kind != HOSTED_PLAIN) {
        enrich(&hosted->model.config);
    }
    weight_set_fill(&hosted->model);
    hosted->model.weights.in_place = kind == HOSTED_IN_PLACE;
    if (gqa_create(&hosted->layer, &hosted->model.config, &hosted->model.weights, runtime,
                   &hosted->err) != GQA_OK) {
        hosted_close(hosted);
        return false;
    }
    gqa_cache_options_init(&options, hosted->layer);
    options.max_sequences = HOSTED_BATCH;
    options.max_tokens = HOSTED_TOKENS + HOSTED_STEPS;
    options.page_size = 32;
    return gqa_cache_create(&hosted->cache, hosted->layer, &options, &hosted->err) == GQA_OK &&
           make_room(hosted);
}

bool hosted_round(struct hosted_layer *hosted)
{
    size_t at = 0;

    memset(hosted->result, 0xff, hosted->floats * sizeof *hosted->result); /* NaN */
    for (int32_t b = 0; b < HOSTED_BATCH; b++) {
        if (gqa_cache_truncate(hosted->cache, b, 0, &hosted->err) != GQA_OK) {
            return false;
        }
    }
    for (int call = 0; call <= HOSTED_STEPS; call++) {
        gqa_inputs in;
        gqa_output out;
        set_outputs(hosted, &at, set_inputs(hosted, call, &in), &out);
        if (gqa_forward(hosted->layer, hosted->cache, &in, &out, hosted->workspace, hosted->size,
                        &hosted->err) != GQA_OK) {
            return false;
        }
    }
    return true;
}
