/* SPDX-License-Identifier: Apache-2.0 */
/* kv_json.c - see kv_report.h: the JSON. Its keys are in docs/gqa-command.md. */
#include <math.h>

#include "tool/kv_report.h"
#include "tool/report.h"

/* JSON has no infinities and no NaN: null. */
static json_t *kv_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *divergence_json(const struct tool_kv_divergence *kl)
{
    return json_pack("{s:o, s:o, s:I}", "mean", kv_number(kl->mean), "largest", kv_number(kl->most),
                     "rows", (json_int_t)kl->rows);
}

static json_t *error_json(const struct tool_kv_error *error)
{
    return json_pack("{s:o, s:o}", "rms", kv_number(error->rms), "largest", kv_number(error->most));
}

static json_t *scores_json(const struct tool_kv_meter *meter, int type)
{
    const struct tool_kv_scores *const scores = &meter->scores[type];
    json_t *const heads = json_array(), *const kv_heads = json_array();

    for (int32_t h = 0; h < meter->c->hq; h++) {
        json_array_append_new(heads, divergence_json(&scores->head[h]));
    }
    for (int32_t kv = 0; kv < meter->c->hkv; kv++) {
        json_array_append_new(kv_heads, divergence_json(&scores->kv_head[kv]));
    }
    return json_pack("{s:s, s:o, s:i, s:o, s:o}", "k", meter->choice.type[type]->name, "kl",
                     divergence_json(&scores->all), "worst_head", (int)scores->worst, "heads",
                     heads, "kv_heads", kv_heads);
}

static json_t *pair_json(const struct tool_kv_meter *meter, const struct tool_kv_pair *pair,
                         const struct tool_kv_limits *limits)
{
    json_t *const heads = json_array();

    for (int32_t h = 0; h < meter->c->hq; h++) {
        json_array_append_new(heads, error_json(&pair->head[h]));
    }
    return json_pack("{s:s, s:s, s:I, s:o, s:i, s:o, s:o, s:b}", "k",
                     meter->choice.type[pair->k]->name, "v", meter->choice.type[pair->v]->name,
                     "bytes_per_token", (json_int_t)pair->bytes, "attn", error_json(&pair->attn),
                     "worst_head", (int)pair->worst, "heads", heads, "out",
                     meter->c->block ? error_json(&pair->out) : json_null(), "within_limits",
                     tool_kv_breaks(meter, pair, limits) == TOOL_KV_KEEPS);
}

static json_t *advice_json(const struct tool_kv_meter *meter, const struct tool_kv_limits *limits)
{
    static const char *const keys[] = {NULL, "kl", "kl_head", "error"};
    struct tool_kv_advice advice;
    json_t *object;

    tool_kv_advise(meter, limits, &advice);
    object = json_pack("{s:s, s:s, s:I, s:o}", "k", meter->choice.type[advice.pair->k]->name, "v",
                       meter->choice.type[advice.pair->v]->name, "bytes_per_token",
                       (json_int_t)advice.pair->bytes, "weaker",
                       advice.pair == &meter->pairs[0] ? json_null()
                                                       : json_string(advice.weak_k ? "k" : "v"));
    if (object != NULL) {
        json_object_set_new(object, "next_smaller",
                            advice.smaller == NULL
                                ? json_null()
                                : json_pack("{s:s, s:s, s:s}", "k",
                                            meter->choice.type[advice.smaller->k]->name, "v",
                                            meter->choice.type[advice.smaller->v]->name, "over",
                                            keys[tool_kv_breaks(meter, advice.smaller, limits)]));
    }
    return object;
}

json_t *tool_kv_json(const struct tool_kv_meter *meter, const struct tool_kv_limits *limits)
{
    const struct tool_case *const c = meter->c;
    json_t *const scores = json_array(), *const pairs = json_array(), *const refused = json_array();

    for (int i = 0; i < meter->choice.n; i++) {
        json_array_append_new(scores, scores_json(meter, i));
    }
    for (int i = 0; i < meter->choice.n * meter->choice.n; i++) {
        json_array_append_new(pairs, pair_json(meter, &meter->pairs[i], limits));
    }
    for (int i = 0; i < TOOL_KV_TYPES; i++) {
        if (meter->choice.refused[i].status != GQA_OK) {
            json_array_append_new(refused, json_pack("{s:s, s:s}", "type", tool_kv_types[i].name,
                                                     "why", meter->choice.refused[i].message));
        }
    }
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:i, s:i, s:i, s:i, s:s, s:o, s:o, "
        "s:o, s:o, s:o}",
        "case", c->name, "backend", tool_backend_name(meter->path.backend), "isa",
        gqa_isa_name(meter->path.isa), "kernels", meter->path.kernels, "batch", (int)c->batch,
        "tokens", (int)c->tokens, "past", (int)c->past, "valid_tokens", (json_int_t)meter->rows,
        "query_heads", (int)c->hq, "kv_heads", (int)c->hkv, "head_dim", (int)c->dk, "v_head_dim",
        (int)c->dv, "base", meter->choice.type[0]->name, "lse_difference", kv_number(meter->gap),
        "refused", refused, "scores", scores, "pairs", pairs, "advice", advice_json(meter, limits));
}
