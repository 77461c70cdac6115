/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - a caller's call, checked and completed: formats, shapes, and what the profile takes. */
#include "neuron/neuron.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "base/tensor.h"

/* The largest extent of a dimension, so that tile arithmetic stays within int32_t. */
#define GQA__EXTENT_MAX (1 << 29)

/* --- warnings and limits -----------------------------------------------------------------------
 */

void gqa__neuron_warn(struct gqa__neuron *call, gqa_neuron_warning_code code, const char *field,
                      const char *text)
{
    const gqa_neuron_warning warning = {code, field, text};

    if (call->out.warning_count < GQA_NEURON_WARNINGS_MAX) {
        call->out.warnings[call->out.warning_count++] = warning;
    }
}

gqa_status gqa__neuron_hold(struct gqa__neuron *call, bool holds,
                            const struct gqa__neuron_limit *limit, gqa_error *err)
{
    if (holds) {
        return GQA_OK;
    }
    if (call->in.lift_limits != 0) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_LIMIT_LIFTED, limit->field, limit->must);
        return GQA_OK;
    }
    return gqa__fail(err, GQA_ERR_UNSUPPORTED, limit->field, "%s is %lld; it must be %s",
                     limit->what, (long long)limit->value, limit->must);
}

/* --- optional fields ---------------------------------------------------------------------------
 */

enum kind { TENSOR, NUMBER, FLOAT, POINTER, OUTPUT };

struct optional {
    uint32_t field; /* of gqa__neuron_field */
    enum kind kind;
    size_t offset; /* in gqa_neuron_call, or in gqa_neuron_output for OUTPUT */
    const char *name;
};

#define IN(member)  offsetof(gqa_neuron_call, member), "call." #member
#define OUT(member) offsetof(gqa_neuron_output, member), "output." #member

static const struct optional optionals[] = {
    {GQA__TAKES_PRIOR, TENSOR, IN(k_prior)},
    {GQA__TAKES_PRIOR, TENSOR, IN(v_prior)},
    {GQA__TAKES_CACHE, TENSOR, IN(k_cache)},
    {GQA__TAKES_CACHE, TENSOR, IN(v_cache)},
    {GQA__TAKES_SINKS, TENSOR, IN(sinks)},
    {GQA__TAKES_MASK, TENSOR, IN(mask)},
    {GQA__TAKES_PRIOR_MASK, TENSOR, IN(prior_mask)},
    {GQA__TAKES_ACTIVE_MASK, TENSOR, IN(active_mask)},
    {GQA__TAKES_WINDOW, NUMBER, IN(window)},
    {GQA__TAKES_BIDIRECTIONAL, NUMBER, IN(bidirectional)},
    {GQA__TAKES_SCALE, FLOAT, IN(scale)},
    {GQA__TAKES_DIVISOR, NUMBER, IN(divisor)},
    {GQA__TAKES_DIVISOR, FLOAT, IN(softmax_scale)},
    {GQA__TAKES_FLASH, NUMBER, IN(seq_tile)},
    {GQA__TAKES_FLASH, NUMBER, IN(attn_core_tile)},
    {GQA__TAKES_FLASH, NUMBER, IN(windowed_context_encoding)},
    {GQA__TAKES_PRIOR_USED, NUMBER, IN(prior_used)},
    {GQA__TAKES_CP, NUMBER, IN(cp_degree)},
    {GQA__TAKES_CP, NUMBER, IN(cp_offset)},
    {GQA__TAKES_CP, NUMBER, IN(cp_strided)},
    {GQA__TAKES_BOUNDS, POINTER, IN(bound_min)},
    {GQA__TAKES_BOUNDS, POINTER, IN(bound_max)},
    {GQA__TAKES_RANKS, NUMBER, IN(ranks)},
    {GQA__TAKES_RANKS, POINTER, IN(positions)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(requests)},
    {GQA__TAKES_SCHEDULE, POINTER, IN(query_lens)},
    {GQA__TAKES_SCHEDULE, POINTER, IN(context_lens)},
    {GQA__TAKES_SCHEDULE, POINTER, IN(block_table)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(block_table_width)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(q_tile)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(kv_tile)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(row_order)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(tiles_padded)},
    {GQA__TAKES_SCHEDULE, NUMBER, IN(skip_value)},
    {GQA__TAKES_SOFTMAX_CACHE, OUTPUT, OUT(neg_max)},
    {GQA__TAKES_SOFTMAX_CACHE, OUTPUT, OUT(recip)},
    {GQA__TAKES_Q_SCALED, OUTPUT, OUT(q_scaled)},
    {GQA__TAKES_TRANSPOSED, NUMBER, IN(k_transposed)},
};

static bool is_set(const struct gqa__neuron *call, const struct optional *optional)
{
    const unsigned char *const in = (const unsigned char *)&call->in + optional->offset;
    const unsigned char *const out = (const unsigned char *)&call->out + optional->offset;
    gqa_tensor tensor;
    int32_t number;
    float value;
    const void *pointer;

    switch (optional->kind) {
    case NUMBER:
        memcpy(&number, in, sizeof number);
        return number != 0;
    case FLOAT:
        memcpy(&value, in, sizeof value);
        return value != 0.0f;
    case POINTER:
        memcpy(&pointer, in, sizeof pointer);
        return pointer != NULL;
    case OUTPUT:
        memcpy(&tensor, out, sizeof tensor);
        return tensor.data != NULL;
    case TENSOR:
    default:
        memcpy(&tensor, in, sizeof tensor);
        return tensor.data != NULL;
    }
}

static gqa_status check_optionals(struct gqa__neuron *call, gqa_error *err)
{
    const struct gqa__neuron_path *const path = call->path;

    for (size_t i = 0; i < sizeof optionals / sizeof optionals[0]; i++) {
        const struct optional *const optional = &optionals[i];
        if ((path->takes & optional->field) == 0 && (path->drops & optional->field) == 0 &&
            is_set(call, optional)) {
            return gqa__fail(err, GQA_ERR_ARG, optional->name,
                             "is set, but profile %s has no such argument", path->name);
        }
    }
    return GQA_OK;
}

/* --- tensors -----------------------------------------------------------------------------------
 */

/* Floats [B, rows, heads, D] of the I/O type. */
struct heads_rule {
    const char *field;
    gqa_tensor *tensor;
    int64_t shape[4];
};

static gqa_status fit_heads(const struct gqa__neuron *call, const struct heads_rule *rule,
                            int formats, gqa_error *err)
{
    const struct gqa__form form = {rule->field, GQA__FLOATS | formats, 4, rule->shape, true};
    gqa_status status;

    if (!gqa__present(rule->tensor)) {
        return gqa__fail(err, GQA_ERR_ARG, rule->field, "is absent; profile %s needs it",
                         call->path->name);
    }
    status = gqa__tensor_fit(rule->tensor, &form, rule->tensor, err);
    if (status != GQA_OK) {
        return status;
    }
    for (int i = 0; i < 4; i++) {
        if (rule->tensor->shape[i] > GQA__EXTENT_MAX) {
            return gqa__fail(err, GQA_ERR_SHAPE, rule->field, "shape[%d] is %lld; at most %d", i,
                             (long long)rule->tensor->shape[i], GQA__EXTENT_MAX);
        }
    }
    return GQA_OK;
}

static gqa_status check_io(const struct gqa__neuron *call, const struct heads_rule *rule,
                           gqa_error *err)
{
    if (rule->tensor->dtype != call->io) {
        return gqa__fail(err, GQA_ERR_ARG, rule->field, "dtype is %d; it must be call.q's, %d",
                         (int)rule->tensor->dtype, (int)call->io);
    }
    return GQA_OK;
}

static gqa_status check_query(struct gqa__neuron *call, int formats, gqa_error *err)
{
    const struct heads_rule rule = {"call.q", &call->in.q, {-1, -1, -1, -1}};
    const gqa_tensor *const q = &call->in.q;
    gqa_status status = fit_heads(call, &rule, formats, err);

    if (status != GQA_OK) {
        return status;
    }
    if (q->dtype != GQA_F32 && q->dtype != GQA_BF16) {
        return gqa__fail(err, GQA_ERR_ARG, "call.q", "dtype is %d; the I/O type is f32 or bf16",
                         (int)q->dtype);
    }
    if (q->shape[2] < 1 || q->shape[3] < 1 || q->shape[0] * q->shape[2] > GQA__EXTENT_MAX) {
        return gqa__fail(err, GQA_ERR_SHAPE, "call.q",
                         "has %lld batch entries of %lld heads of %lld; heads and head_dim must be "
                         "at least 1, batch entries times heads at most %d",
                         (long long)q->shape[0], (long long)q->shape[2], (long long)q->shape[3],
                         GQA__EXTENT_MAX);
    }
    call->io = q->dtype;
    call->batch = (int32_t)q->shape[0];
    call->tokens = (int32_t)q->shape[1];
    call->hq = (int32_t)q->shape[2];
    call->dim = (int32_t)q->shape[3];
    return GQA_OK;
}

static gqa_status check_key_pair(const struct gqa__neuron *call, struct heads_rule *k,
                                 struct heads_rule *v, int formats, gqa_error *err)
{
    gqa_status status = fit_heads(call, k, formats, err);

    if (status == GQA_OK) {
        status = check_io(call, k, err);
    }
    if (status == GQA_OK) {
        memcpy(v->shape, k->tensor->shape, sizeof v->shape);
        status = fit_heads(call, v, formats, err);
    }
    return status == GQA_OK ? check_io(call, v, err) : status;
}

/* k_prior as [B, Hkv, D, P], seen as [B, P, Hkv, D]. */
static gqa_status check_transposed(struct gqa__neuron *call, int formats, gqa_error *err)
{
    gqa_tensor *const k = &call->in.k_prior;
    const struct heads_rule rule = {"call.k_prior", k, {call->batch, call->hkv, call->dim, -1}};
    gqa_status status = fit_heads(call, &rule, formats, err);
    const gqa_tensor given = *k;

    if (status == GQA_OK) {
        k->shape[1] = given.shape[3];
        k->shape[2] = given.shape[1];
        k->shape[3] = given.shape[2];
        k->stride[1] = given.stride[3];
        k->stride[2] = given.stride[1];
        k->stride[3] = given.stride[2];
    }
    return status;
}

static gqa_status check_prior_keys(struct gqa__neuron *call, int formats, gqa_error *err)
{
    gqa_neuron_call *const in = &call->in;
    struct heads_rule k = {"call.k_prior", &in->k_prior, {call->batch, -1, call->hkv, call->dim}};
    struct heads_rule v = {"call.v_prior", &in->v_prior, {0, 0, 0, 0}};
    gqa_status status;

    if (!gqa__present(&in->k_prior) && !gqa__present(&in->v_prior)) {
        return GQA_OK;
    }
    if (in->k_transposed == 0) {
        status = check_key_pair(call, &k, &v, formats, err);
    } else {
        status = check_transposed(call, formats, err);
        if (status == GQA_OK) {
            status = check_io(call, &k, err);
        }
        if (status == GQA_OK) {
            memcpy(v.shape, in->k_prior.shape, sizeof v.shape);
            status = fit_heads(call, &v, formats, err);
        }
        if (status == GQA_OK) {
            status = check_io(call, &v, err);
        }
    }
    call->prior = status == GQA_OK ? (int32_t)in->k_prior.shape[1] : 0;
    return status;
}

/* k, v, and what the profile takes of prior keys and caches. */
static gqa_status check_key_tensors(struct gqa__neuron *call, int formats, gqa_error *err)
{
    gqa_neuron_call *const in = &call->in;
    struct heads_rule k = {"call.k", &in->k, {call->batch, -1, -1, call->dim}};
    struct heads_rule v = {"call.v", &in->v, {0, 0, 0, 0}};
    struct heads_rule k_cache = {"call.k_cache", &in->k_cache, {-1, 0, -1, call->dim}};
    struct heads_rule v_cache = {"call.v_cache", &in->v_cache, {0, 0, 0, 0}};
    gqa_status status = check_key_pair(call, &k, &v, formats, err);

    if (status != GQA_OK) {
        return status;
    }
    call->keys = (int32_t)in->k.shape[1];
    call->hkv = (int32_t)in->k.shape[2];
    if (call->hkv < 1 || call->hq % call->hkv != 0) {
        return gqa__fail(err, GQA_ERR_SHAPE, "call.k", "has %d heads; they must divide call.q's %d",
                         (int)call->hkv, (int)call->hq);
    }
    call->group = call->hq / call->hkv;
    k_cache.shape[1] = call->hkv;
    status = check_prior_keys(call, formats, err);
    if (status == GQA_OK && (call->path->takes & GQA__TAKES_CACHE) != 0) {
        status = check_key_pair(call, &k_cache, &v_cache, formats, err);
    }
    return status;
}

/* A mask [1|B, 1, T, columns], if it is there. */
static gqa_status check_one_mask(const struct gqa__neuron *call, const char *field,
                                 gqa_tensor *mask, int64_t columns, gqa_error *err)
{
    const int64_t shape[4] = {-1, 1, call->tokens, columns};
    const struct gqa__form form = {field, GQA__MASKS, 4, shape, false};
    gqa_status status;

    if (!gqa__present(mask)) {
        return GQA_OK;
    }
    status = gqa__tensor_fit(mask, &form, mask, err);
    if (status != GQA_OK) {
        return status;
    }
    if (mask->shape[0] != 1 && mask->shape[0] != call->batch) {
        return gqa__fail(err, GQA_ERR_SHAPE, field, "shape[0] is %lld; it must be 1 or %d",
                         (long long)mask->shape[0], (int)call->batch);
    }
    if (mask->shape[0] == 1) {
        mask->stride[0] = 0;
    }
    return GQA_OK;
}

static gqa_status check_masks(struct gqa__neuron *call, int formats, gqa_error *err)
{
    gqa_neuron_call *const in = &call->in;
    const int64_t hq = call->hq;
    const struct gqa__form sinks = {"call.sinks", GQA__FLOATS | formats, 1, &hq, false};
    gqa_status status = GQA_OK;

    if (gqa__present(&in->sinks)) {
        status = gqa__tensor_fit(&in->sinks, &sinks, &in->sinks, err);
    }
    if (status == GQA_OK) {
        status = check_one_mask(call, "call.mask", &in->mask, call->keys, err);
    }
    if (status == GQA_OK) {
        status = check_one_mask(call, "call.prior_mask", &in->prior_mask, call->prior, err);
    }
    if (status == GQA_OK) {
        status = check_one_mask(call, "call.active_mask", &in->active_mask, call->tokens, err);
    }
    return status;
}

static gqa_status check_results(struct gqa__neuron *call, int formats, gqa_error *err)
{
    gqa_neuron_output *const out = &call->out;
    const int64_t groups = (call->tokens + GQA__PARTITIONS - 1) / GQA__PARTITIONS;
    const int64_t rows[4] = {call->batch, call->hq, GQA__PARTITIONS, groups};
    const int64_t like_q[4] = {call->batch, call->tokens, call->hq, call->dim};
    const struct {
        gqa_tensor *tensor;
        struct gqa__form form;
    } outputs[] = {
        {&out->out, {"output.out", GQA__FLOATS | formats, 4, like_q, true}},
        {&out->q_scaled, {"output.q_scaled", GQA__FLOATS | formats, 4, like_q, true}},
        {&out->neg_max, {"output.neg_max", GQA__ONLY_F32 | formats, 4, rows, true}},
        {&out->recip, {"output.recip", GQA__ONLY_F32 | formats, 4, rows, true}},
    };

    if (!gqa__present(&out->out)) {
        return gqa__fail(err, GQA_ERR_ARG, "output.out", "is absent; it is required");
    }
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        if (gqa__present(outputs[i].tensor)) {
            const gqa_status status =
                gqa__tensor_fit(outputs[i].tensor, &outputs[i].form, outputs[i].tensor, err);
            if (status != GQA_OK) {
                return status;
            }
        }
    }
    return GQA_OK;
}

/* No output lies on an input: tiles are read again after others have been written. */
static gqa_status check_overlap(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const gqa_neuron_output *const out = &call->out;
    const gqa_tensor *const inputs[] = {
        &in->q,       &in->k,     &in->v,    &in->k_prior,    &in->v_prior,    &in->k_cache,
        &in->v_cache, &in->sinks, &in->mask, &in->prior_mask, &in->active_mask};
    const gqa_tensor *const outputs[] = {&out->out, &out->q_scaled, &out->neg_max, &out->recip};
    const char *const names[] = {"output.out", "output.q_scaled", "output.neg_max", "output.recip"};

    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        for (size_t j = 0; j < sizeof inputs / sizeof inputs[0]; j++) {
            if (gqa__present(outputs[i]) && gqa__present(inputs[j]) &&
                gqa__tensor_overlap(outputs[i], inputs[j])) {
                return gqa__fail(err, GQA_ERR_ARG, names[i], "shares memory with an input");
            }
        }
    }
    return GQA_OK;
}

/* --- enums and numbers -------------------------------------------------------------------------
 */

static gqa_status check_call_flags(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const struct {
        const char *field;
        int32_t value;
    } flags[] = {
        {"call.lift_limits", in->lift_limits},
        {"call.bidirectional", in->bidirectional},
        {"call.windowed_context_encoding", in->windowed_context_encoding},
        {"call.cp_strided", in->cp_strided},
        {"call.k_transposed", in->k_transposed},
    };

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].value != 0 && flags[i].value != 1) {
            return gqa__fail(err, GQA_ERR_ARG, flags[i].field, "is %d; it must be 0 or 1",
                             (int)flags[i].value);
        }
    }
    return GQA_OK;
}

static gqa_status check_enums(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;

    if (in->accumulation != GQA_NEURON_EXACT && in->accumulation != GQA_NEURON_FLOAT32) {
        return gqa__fail(err, GQA_ERR_ARG, "call.accumulation", "is %d; it must be 0 or 1",
                         (int)in->accumulation);
    }
    if (in->divisor != GQA_NEURON_SQRT_D_ROUNDED && in->divisor != GQA_NEURON_SQRT_D_F32) {
        return gqa__fail(err, GQA_ERR_ARG, "call.divisor", "is %d; it must be 0 or 1",
                         (int)in->divisor);
    }
    if (in->release != GQA_NEURON_NEWEST && in->release != GQA_NEURON_2_26 &&
        in->release != GQA_NEURON_2_27 && in->release != GQA_NEURON_2_29) {
        return gqa__fail(err, GQA_ERR_ARG, "call.release", "is %d; it must be 0, 226, 227 or 229",
                         (int)in->release);
    }
    if (!isfinite(in->scale)) {
        return gqa__fail(err, GQA_ERR_ARG, "call.scale", "is %g; it must be finite",
                         (double)in->scale);
    }
    if (!isfinite(in->softmax_scale)) {
        return gqa__fail(err, GQA_ERR_ARG, "call.softmax_scale", "is %g; it must be finite",
                         (double)in->softmax_scale);
    }
    if (in->softmax_scale != 0.0f && in->release != GQA_NEURON_NEWEST &&
        in->release != GQA_NEURON_2_29) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.softmax_scale",
                         "is given; it came with release 2.29, and call.release is %d",
                         (int)in->release);
    }
    if (in->window < 0) {
        return gqa__fail(err, GQA_ERR_ARG, "call.window", "is %d; it must be at least 0",
                         (int)in->window);
    }
    return GQA_OK;
}

static void set_divisor(struct gqa__neuron *call)
{
    const float root =
        call->in.softmax_scale == 0.0f ? (float)sqrt((double)call->dim) : call->in.softmax_scale;

    call->divisor =
        call->in.divisor == GQA_NEURON_SQRT_D_ROUNDED ? gqa__engine_round(call->io, root) : root;
}

/* Everything that is the same for all profiles. */
static gqa_status check_common(struct gqa__neuron *call, int formats, gqa_error *err)
{
    gqa_status status = check_enums(call, err);

    if (status == GQA_OK) {
        status = check_call_flags(call, err);
    }
    if (status == GQA_OK) {
        status = check_optionals(call, err);
    }
    if (status == GQA_OK) {
        status = check_query(call, formats, err);
    }
    if (status == GQA_OK) {
        status = check_key_tensors(call, formats, err);
    }
    if (status == GQA_OK) {
        status = check_masks(call, formats, err);
    }
    if (status == GQA_OK) {
        status = check_results(call, formats, err);
    }
    if (status == GQA_OK && (formats & GQA__ANY_ADDRESS) == 0) {
        status = check_overlap(call, err);
    }
    return status;
}

gqa_status gqa__neuron_check(struct gqa__neuron *call, const gqa_neuron_call *in,
                             const gqa_neuron_output *out, int formats, gqa_error *err)
{
    gqa_status status;

    memset(call, 0, sizeof *call);
    status = gqa__import(&call->in, sizeof call->in, in, "call", err);
    if (status == GQA_OK) {
        status = gqa__import(&call->out, sizeof call->out, out, "output", err);
    }
    if (status != GQA_OK) {
        return status;
    }
    call->out.tiles = call->out.tiles_skipped = call->out.hbm_bytes = call->out.madds = 0;
    call->out.warning_count = 0;
    memset(call->out.warnings, 0, sizeof call->out.warnings);
    call->path = gqa__neuron_path(call->in.profile);
    if (call->path == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "call.profile", "is %d; it must name a profile, 1 .. %d",
                         (int)call->in.profile, (int)GQA_NEURON_PAGED_SCHEDULE);
    }
    status = check_common(call, formats, err);
    if (status == GQA_OK) {
        set_divisor(call);
        status = call->path->check == NULL ? GQA_OK : call->path->check(call, err);
    }
    return status;
}
