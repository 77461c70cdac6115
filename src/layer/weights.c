/* SPDX-License-Identifier: Apache-2.0 */
/* weights.c - which tensors a config calls for, and of which shape. */
#include "layer/layer.h"

#include "base/error.h"
#include "base/tensor.h"

enum need { REFUSED, OPTIONAL, REQUIRED };

/* What one tensor must be. */
struct weight_rule {
    const char *field;
    gqa_tensor *tensor;
    enum need need;
    const char *cause; /* the config field that decides the need, ... */
    int32_t value;     /* ... and its value */
    int32_t rank;
    int64_t shape[2];
};

/* The first fault ends the check: later rules do nothing. */
struct check {
    const struct gqa__params *params;
    gqa_weights *weights;
    gqa_error *err;
    gqa_status status;
};

static void apply_formats(struct check *check, const struct weight_rule *rule, int formats)
{
    if (check->status != GQA_OK) {
        return;
    }
    if (!gqa__present(rule->tensor)) {
        if (rule->need == REQUIRED) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, rule->field,
                          "is absent, but %s = %d calls for it", rule->cause, (int)rule->value);
        }
    } else if (rule->need == REFUSED) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, rule->field,
                      "is given, but %s = %d has no use for it", rule->cause, (int)rule->value);
    } else {
        check->status = gqa__tensor_fit(
            rule->tensor, &(struct gqa__form){rule->field, formats, rule->rank, rule->shape, false},
            rule->tensor, check->err);
    }
}

static void apply_floats(struct check *check, const struct weight_rule *rule)
{
    apply_formats(check, rule, GQA__FLOATS);
}

static enum need required_if(bool condition)
{
    return condition ? REQUIRED : REFUSED;
}

static enum need optional_if(bool condition)
{
    return condition ? OPTIONAL : REFUSED;
}

/* Norms over the hidden dimension. */
static void check_norms(struct check *check)
{
    const gqa_config *const config = &check->params->config;
    gqa_weights *const w = check->weights;
    const int64_t hidden = check->params->shape.hidden;
    const int32_t in = (int32_t)config->input_norm;
    const int32_t post = (int32_t)config->post_norm;
    const char *const in_cause = "config.input_norm";
    const char *const post_cause = "config.post_norm";
    const enum need weight_in = optional_if(in != GQA_NORM_NONE);
    const enum need bias_in = optional_if(in == GQA_NORM_LAYER);
    const enum need weight_post = optional_if(post != GQA_NORM_NONE);
    const enum need bias_post = optional_if(post == GQA_NORM_LAYER);
    const struct weight_rule rules[] = {
        {"weights.input_norm", &w->input_norm, weight_in, in_cause, in, 1, {hidden}},
        {"weights.input_norm_bias", &w->input_norm_bias, bias_in, in_cause, in, 1, {hidden}},
        {"weights.post_norm", &w->post_norm, weight_post, post_cause, post, 1, {hidden}},
        {"weights.post_norm_bias", &w->post_norm_bias, bias_post, post_cause, post, 1, {hidden}}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        apply_floats(check, &rules[i]);
    }
}

/* One projection, its bias and its scale. The need of a bias is that of the weight and config's
 * flag both. */
struct projection {
    const char *field, *bias_field, *scale_field;
    gqa_tensor *weight, *bias, *scale;
    bool wanted;
    const char *cause; /* of wanted */
    int32_t value;
    const char *bias_cause; /* the flag; NULL = never a bias */
    int32_t bias_value;
    int64_t out, in;
};

static void check_finite(struct check *check, const char *field, const gqa_tensor *scale)
{
    for (int64_t o = 0; o < scale->shape[0] && check->status == GQA_OK; o++) {
        float x;
        gqa__load_f32(&x, scale, o, 1);
        if (!(x - x == 0.0f)) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, field, "of output %lld is %g; it must be finite",
                          (long long)o, (double)x);
        }
    }
}

/* A scale belongs to integers, and to nothing else. */
static void check_scale(struct check *check, const struct projection *p)
{
    const gqa_weight_storage storage = check->params->config.weight_storage;
    const bool integers = gqa__present(p->weight) && p->weight->dtype == GQA_I8;
    struct weight_rule rule = {p->scale_field, p->scale, REFUSED,    p->cause,
                               p->value,       1,        {p->out, 0}};
    if (p->wanted) {
        rule.cause = "config.weight_storage";
        rule.value = (int32_t)storage;
    }
    if (p->wanted && storage == GQA_WEIGHT_STORAGE_INT8) {
        rule.need = required_if(integers);
        rule.cause = "the dtype of its matrix";
        rule.value = gqa__present(p->weight) ? (int32_t)p->weight->dtype : 0;
    }
    apply_floats(check, &rule);
    if (rule.need == REQUIRED && check->status == GQA_OK) {
        check_finite(check, p->scale_field, p->scale);
    }
}

static void check_matrix(struct check *check, const struct projection *p)
{
    const struct weight_rule rule = {p->field, p->weight, required_if(p->wanted), p->cause,
                                     p->value, 2,         {p->out, p->in}};
    const bool int8 = check->params->config.weight_storage == GQA_WEIGHT_STORAGE_INT8;
    if (check->status == GQA_OK && p->wanted && !int8 && gqa__present(p->weight) &&
        p->weight->dtype == GQA_I8) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, p->field,
                                  "is GQA_I8, but config.weight_storage = %d (NATIVE) has no use "
                                  "for it; GQA_WEIGHT_STORAGE_INT8 is %d",
                                  (int)GQA_WEIGHT_STORAGE_NATIVE, (int)GQA_WEIGHT_STORAGE_INT8);
    }
    apply_formats(check, &rule, int8 ? GQA__FLOATS | GQA__INT8 : GQA__FLOATS);
}

static void check_projection(struct check *check, const struct projection *p)
{
    check_matrix(check, p);
    check_scale(check, p);
    if (p->bias_cause != NULL) {
        const bool flag = p->bias_value != 0;
        const bool other = flag && !p->wanted; /* the weight's cause decides */
        const enum need need = required_if(p->wanted && flag);
        const struct weight_rule bias = {p->bias_field,
                                         p->bias,
                                         need,
                                         other ? p->cause : p->bias_cause,
                                         other ? p->value : p->bias_value,
                                         1,
                                         {p->out}};
        apply_floats(check, &bias);
    }
}

enum { QKV_PROJECTIONS = 4 };

/* Names and tensors of q, k, v and what is fused of them, for one phase. */
static void qkv_fields(gqa_weights *w, bool tkg, struct projection projections[QKV_PROJECTIONS])
{
    static const char *const names[2][QKV_PROJECTIONS][3] = {
        {{"weights.wq", "weights.bq", "weights.wq_scale"},
         {"weights.wk", "weights.bk", "weights.wk_scale"},
         {"weights.wv", "weights.bv", "weights.wv_scale"},
         {"weights.wqkv", "weights.bqkv", "weights.wqkv_scale"}},
        {{"weights.tkg_wq", "weights.tkg_bq", "weights.tkg_wq_scale"},
         {"weights.tkg_wk", "weights.tkg_bk", "weights.tkg_wk_scale"},
         {"weights.tkg_wv", "weights.tkg_bv", "weights.tkg_wv_scale"},
         {"weights.tkg_wqkv", "weights.tkg_bqkv", "weights.tkg_wqkv_scale"}}};
    gqa_tensor *const tensors[2][QKV_PROJECTIONS][3] = {
        {{&w->wq, &w->bq, &w->wq_scale},
         {&w->wk, &w->bk, &w->wk_scale},
         {&w->wv, &w->bv, &w->wv_scale},
         {&w->wqkv, &w->bqkv, &w->wqkv_scale}},
        {{&w->tkg_wq, &w->tkg_bq, &w->tkg_wq_scale},
         {&w->tkg_wk, &w->tkg_bk, &w->tkg_wk_scale},
         {&w->tkg_wv, &w->tkg_bv, &w->tkg_wv_scale},
         {&w->tkg_wqkv, &w->tkg_bqkv, &w->tkg_wqkv_scale}}};

    for (int i = 0; i < QKV_PROJECTIONS; i++) {
        projections[i] = (struct projection){.field = names[tkg][i][0],
                                             .bias_field = names[tkg][i][1],
                                             .scale_field = names[tkg][i][2],
                                             .weight = tensors[tkg][i][0],
                                             .bias = tensors[tkg][i][1],
                                             .scale = tensors[tkg][i][2]};
    }
}

/* Which of them the config calls for, and why. */
static void qkv_needs(const struct gqa__params *params,
                      struct projection projections[QKV_PROJECTIONS])
{
    const gqa_config *const config = &params->config;
    const struct gqa__shape *const shape = &params->shape;
    const bool some = shape->hidden > 0;
    const bool separate = some && config->qkv_layout == GQA_QKV_SEPARATE;
    const bool wanted[QKV_PROJECTIONS] = {separate, separate, separate && !config->k_eq_v,
                                          some && !separate};
    const int64_t outs[QKV_PROJECTIONS] = {shape->q_rows, shape->k_rows, shape->v_rows,
                                           (int64_t)shape->q_rows + shape->k_rows + shape->v_rows};

    for (int i = 0; i < QKV_PROJECTIONS; i++) {
        struct projection *const p = &projections[i];
        p->wanted = wanted[i];
        p->cause = some ? "config.qkv_layout" : "config.hidden_size";
        p->value = some ? (int32_t)config->qkv_layout : 0;
        p->bias_cause = "config.qkv_bias";
        p->bias_value = config->qkv_bias;
        p->out = outs[i];
        p->in = shape->hidden;
    }
    if (separate && config->k_eq_v) {
        projections[2].cause = "config.k_eq_v";
        projections[2].value = config->k_eq_v;
    }
}

/* A second set is there as soon as one of its matrices is. */
static void need_second_set(struct projection *projections, int count)
{
    int32_t given = 0;

    for (int i = 0; i < count; i++) {
        given += projections[i].wanted && gqa__present(projections[i].weight);
    }
    for (int i = 0; i < count; i++) {
        if (projections[i].wanted) {
            projections[i].wanted = given > 0;
            projections[i].cause = "the number of its set's matrices that are given";
            projections[i].value = given;
        }
    }
}

static void check_qkv(struct check *check, bool tkg)
{
    struct projection projections[QKV_PROJECTIONS];

    qkv_fields(check->weights, tkg, projections);
    qkv_needs(check->params, projections);
    if (tkg) {
        need_second_set(projections, QKV_PROJECTIONS);
    }
    for (int i = 0; i < QKV_PROJECTIONS; i++) {
        check_projection(check, &projections[i]);
    }
}

static void check_gate_matrix(struct check *check)
{
    const gqa_config *const config = &check->params->config;
    const struct gqa__shape *const shape = &check->params->shape;
    const bool some = shape->hidden > 0;
    const bool gated = config->gate == GQA_GATE_ELEMENT || config->gate == GQA_GATE_HEAD;
    const bool no_hidden = gated && !some;
    const struct projection gate = {.field = "weights.wgate",
                                    .scale_field = "weights.wgate_scale",
                                    .weight = &check->weights->wgate,
                                    .scale = &check->weights->wgate_scale,
                                    .wanted = some && gated,
                                    .cause = no_hidden ? "config.hidden_size" : "config.gate",
                                    .value = no_hidden ? 0 : (int32_t)config->gate,
                                    .out = shape->gate_rows,
                                    .in = shape->hidden};

    check_projection(check, &gate);
}

static void check_output_matrix(struct check *check, bool tkg)
{
    gqa_weights *const w = check->weights;
    const struct gqa__shape *const shape = &check->params->shape;
    struct projection output = {.field = tkg ? "weights.tkg_wo" : "weights.wo",
                                .bias_field = tkg ? "weights.tkg_bo" : "weights.bo",
                                .scale_field = tkg ? "weights.tkg_wo_scale" : "weights.wo_scale",
                                .weight = tkg ? &w->tkg_wo : &w->wo,
                                .bias = tkg ? &w->tkg_bo : &w->bo,
                                .scale = tkg ? &w->tkg_wo_scale : &w->wo_scale,
                                .wanted = shape->hidden > 0,
                                .cause = "config.hidden_size",
                                .value = shape->hidden,
                                .bias_cause = "config.o_bias",
                                .bias_value = check->params->config.o_bias,
                                .out = shape->hidden,
                                .in = shape->o_in};

    if (tkg) {
        need_second_set(&output, 1);
    }
    check_projection(check, &output);
}

/* A weight or bias of the q or k norm: [heads * dk] over the whole projection, else [dk] or
 * [heads][dk]. */
static void check_qk_tensor(struct check *check, const char *field, gqa_tensor *tensor,
                            enum need need, int32_t heads)
{
    const gqa_config *const config = &check->params->config;
    const int64_t dk = check->params->shape.dk;
    const bool off = config->qk_norm_scope == GQA_QK_NORM_OFF;
    struct weight_rule rule = {field,
                               tensor,
                               need,
                               off ? "config.qk_norm_scope" : "config.qk_norm",
                               off ? 0 : (int32_t)config->qk_norm,
                               1,
                               {dk, 0}};
    if (config->qk_norm_scope == GQA_QK_NORM_WHOLE) {
        rule.shape[0] = heads * dk;
    } else if (gqa__present(tensor) && tensor->rank == 2) {
        rule.rank = 2;
        rule.shape[0] = heads;
        rule.shape[1] = dk;
    }
    apply_floats(check, &rule);
}

/* Both or neither; one rank for a weight and its bias. */
static void check_pair(struct check *check, const char *const fields[2], const gqa_tensor *a,
                       const gqa_tensor *b, bool same_rank)
{
    if (check->status != GQA_OK) {
        return;
    }
    if (!same_rank && gqa__present(a) != gqa__present(b)) {
        const int absent = gqa__present(a) ? 1 : 0;
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, fields[absent],
                      "is absent, but %s is given; both or neither are needed", fields[1 - absent]);
    } else if (same_rank && gqa__present(a) && gqa__present(b) && a->rank != b->rank) {
        check->status = gqa__fail(check->err, GQA_ERR_SHAPE, fields[1],
                                  "has rank %d, but %s has rank %d; they must be equal",
                                  (int)b->rank, fields[0], (int)a->rank);
    }
}

static void check_qk_norm(struct check *check)
{
    static const char *const weights[2] = {"weights.q_norm", "weights.k_norm"};
    static const char *const biases[2] = {"weights.q_norm_bias", "weights.k_norm_bias"};
    static const char *const query[2] = {"weights.q_norm", "weights.q_norm_bias"};
    static const char *const key[2] = {"weights.k_norm", "weights.k_norm_bias"};
    const gqa_config *const config = &check->params->config;
    const struct gqa__shape *const shape = &check->params->shape;
    gqa_weights *const w = check->weights;
    const bool on = config->qk_norm_scope != GQA_QK_NORM_OFF;
    const enum need weight = optional_if(on);
    const enum need bias = optional_if(on && config->qk_norm == GQA_NORM_LAYER);
    check_qk_tensor(check, query[0], &w->q_norm, weight, shape->hq);
    check_qk_tensor(check, key[0], &w->k_norm, weight, shape->hkv);
    check_qk_tensor(check, query[1], &w->q_norm_bias, bias, shape->hq);
    check_qk_tensor(check, key[1], &w->k_norm_bias, bias, shape->hkv);
    check_pair(check, weights, &w->q_norm, &w->k_norm, false);
    check_pair(check, biases, &w->q_norm_bias, &w->k_norm_bias, false);
    check_pair(check, query, &w->q_norm, &w->q_norm_bias, true);
    check_pair(check, key, &w->k_norm, &w->k_norm_bias, true);
}

/* A logit that is NaN or +inf would take every row; -inf is "no sink". */
static void check_logits(struct check *check, const char *field, const gqa_tensor *sinks)
{
    for (int32_t h = 0; h < check->params->shape.hq; h++) {
        float logit;
        if (check->status != GQA_OK || !gqa__present(sinks)) {
            return;
        }
        gqa__load_f32(&logit, sinks, h, 1);
        if (!(logit <= 3.402823466e38f)) {
            check->status = gqa__fail(check->err, GQA_ERR_ARG, field,
                                      "the logit of head %d is %s; it must be finite or -inf",
                                      (int)h, logit == logit ? "+inf" : "NaN");
        }
    }
}

static void check_sinks(struct check *check)
{
    const gqa_config *const config = &check->params->config;
    gqa_weights *const w = check->weights;
    const bool on = config->learned_sinks_size == 1;
    const int64_t hq = check->params->shape.hq;
    const struct weight_rule sinks = {"weights.sinks",
                                      &w->sinks,
                                      required_if(on),
                                      "config.learned_sinks_size",
                                      config->learned_sinks_size,
                                      1,
                                      {hq}};
    const struct weight_rule tkg = {"weights.tkg_sinks",
                                    &w->tkg_sinks,
                                    optional_if(on),
                                    "config.learned_sinks_size",
                                    config->learned_sinks_size,
                                    1,
                                    {hq}};
    apply_floats(check, &sinks);
    apply_floats(check, &tkg);
    check_logits(check, sinks.field, &w->sinks);
    check_logits(check, tkg.field, &w->tkg_sinks);
}

gqa_status gqa__weights_check(const struct gqa__params *params, gqa_weights *weights,
                              gqa_error *err)
{
    struct check check = {params, weights, err, GQA_OK};
    check_norms(&check);
    check_qkv(&check, false);
    check_gate_matrix(&check);
    check_output_matrix(&check, false);
    check_qkv(&check, true);
    check_output_matrix(&check, true);
    check_qk_norm(&check);
    check_sinks(&check);
    return check.status;
}
