/* SPDX-License-Identifier: Apache-2.0 */
/* cte_check.c - what attention_cte asserts, and what it does otherwise than one may expect. */
#include "neuron/cte.h"

#include "base/error.h"
#include "base/memory.h"

enum { CTE_MOST_DIM = 128, CTE_MOST_KEYS = 131072, CTE_MOST_BATCH = 512, CTE_MOST_DEGREE = 32 };

static gqa_status check_cte_limits(struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const bool scaled = in->scale != 1.0f;
    const bool special =
        in->window > 0 || in->cp_degree > 0 || call->prior > 0 || in->bound_min != NULL;
    const struct {
        bool holds;
        struct gqa__neuron_limit limit;
    } limits[] = {
        {call->dim <= CTE_MOST_DIM,
         {"call.q", "head_dim", call->dim, "at most 128 (attention_cte: _MAX_HEAD_DIM)"}},
        {call->tokens <= CTE_MOST_KEYS,
         {"call.q", "the number of queries", call->tokens,
          "at most 131072 (attention_cte: _MAX_SEQLEN)"}},
        {(int64_t)call->keys + call->prior <= CTE_MOST_KEYS,
         {"call.k", "the number of keys", (int64_t)call->keys + call->prior,
          "at most 131072 (attention_cte: _MAX_SEQLEN)"}},
        {in->window <= CTE_MOST_KEYS,
         {"call.window", "window", in->window, "at most 131072 (attention_cte: _MAX_SEQLEN)"}},
        {(int64_t)call->batch * call->hq <= CTE_MOST_BATCH,
         {"call.q", "batch times heads", (int64_t)call->batch * call->hq,
          "at most 512 (attention_cte: _MAX_BS)"}},
        {in->cp_degree <= CTE_MOST_DEGREE,
         {"call.cp_degree", "cp_degree", in->cp_degree,
          "at most 32 (attention_cte: _MAX_GLOBAL_CP_DEGREE)"}},
        {!(scaled && special),
         {"call.scale", "1 if it is not 1, which", scaled,
          "0 with a window, context parallelism, a prefix or packing (attention_cte asserts "
          "scale == 1.0)"}},
        {in->bound_min == NULL || call->tokens % GQA__CTE_GROUP == 0,
         {"call.bound_min", "the number of packed queries", call->tokens,
          "a multiple of 128 (attention_cte reshapes the bounds)"}},
    };
    gqa_status status = GQA_OK;

    for (size_t i = 0; status == GQA_OK && i < sizeof limits / sizeof limits[0]; i++) {
        status = gqa__neuron_hold(call, limits[i].holds, &limits[i].limit, err);
    }
    return status;
}

static gqa_status check_parallel(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;
    const int64_t end = (int64_t)in->cp_offset + call->tokens;

    if (in->cp_degree < 0 || in->cp_offset < 0) {
        return gqa__fail(err, GQA_ERR_ARG, "call.cp_degree",
                         "is %d and call.cp_offset %d; both must be at least 0", (int)in->cp_degree,
                         (int)in->cp_offset);
    }
    if (in->cp_degree == 0 && (in->cp_offset != 0 || in->cp_strided != 0)) {
        return gqa__fail(err, GQA_ERR_ARG, "call.cp_degree",
                         "is 0 although call.cp_offset is %d and call.cp_strided %d",
                         (int)in->cp_offset, (int)in->cp_strided);
    }
    if (in->cp_degree > 0 && in->bidirectional != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.bidirectional",
                         "is 1 with call.cp_degree %d; attention_cte asserts causal attention then",
                         (int)in->cp_degree);
    }
    if (in->cp_strided != 0 && in->cp_offset >= in->cp_degree) {
        return gqa__fail(err, GQA_ERR_ARG, "call.cp_offset",
                         "is %d; strided, it is the rank, below call.cp_degree %d",
                         (int)in->cp_offset, (int)in->cp_degree);
    }
    if (in->cp_degree > 0 && in->cp_strided == 0 && end > call->keys) {
        return gqa__fail(err, GQA_ERR_ARG, "call.cp_offset",
                         "is %d; with %d queries it may be at most %d, for there are %d keys",
                         (int)in->cp_offset, (int)call->tokens, (int)(call->keys - call->tokens),
                         (int)call->keys);
    }
    return GQA_OK;
}

static gqa_status check_cte_arguments(const struct gqa__neuron *call, gqa_error *err)
{
    const gqa_neuron_call *const in = &call->in;

    if (in->release != GQA_NEURON_2_29) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.release",
                         "is %d; attention_cte is of release 2.29", (int)in->release);
    }
    if (in->right_window != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.right_window",
                         "is %d; attention_cte has none", (int)in->right_window);
    }
    if (in->window > 0 && in->bidirectional != 0) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.bidirectional",
                         "is 1 with call.window %d; attention_cte asserts causal attention then",
                         (int)in->window);
    }
    if (in->prior_used < 0 || in->prior_used > call->prior) {
        return gqa__fail(err, GQA_ERR_ARG, "call.prior_used",
                         "is %d; it must be 0 .. %d, the prior keys", (int)in->prior_used,
                         (int)call->prior);
    }
    if (call->keys == 0 && call->prior == 0) {
        return gqa__fail(err, GQA_ERR_SHAPE, "call.k",
                         "has no keys; attention_cte asserts section_len > 0");
    }
    if ((in->bound_min == NULL) != (in->bound_max == NULL)) {
        return gqa__fail(err, GQA_ERR_ARG, "call.bound_min",
                         "bound_min and bound_max must be given both or neither");
    }
    if (in->bound_min != NULL && (in->cp_degree > 0 || call->prior > 0)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "call.bound_min",
                         "is given with %s; attention_cte packs without it",
                         in->cp_degree > 0 ? "context parallelism" : "a prefix");
    }
    for (int32_t t = 0; in->bound_min != NULL && t < call->tokens; t++) {
        if (in->bound_min[t] < 0 || in->bound_max[t] < 0) {
            return gqa__fail(err, GQA_ERR_ARG, "call.bound_min",
                             "row %d has bounds %d, %d; they must be at least 0", (int)t,
                             (int)in->bound_min[t], (int)in->bound_max[t]);
        }
    }
    return check_parallel(call, err);
}

/* --- warnings ----------------------------------------------------------------------------------
 */

static bool overlaps(struct gqa__cte_range range, int64_t keys)
{
    return gqa__max(range.begin, 0) < gqa__min(range.end, keys);
}

static bool any_row_without_keys(const struct gqa__neuron *call, const struct gqa__cte_plan *plan)
{
    for (int32_t t = 0; t < call->tokens; t++) {
        if (!overlaps(gqa__cte_sees(call, plan, t, false), plan->active) &&
            (call->prior == 0 || !overlaps(gqa__cte_sees(call, plan, t, true), call->prior))) {
            return true;
        }
    }
    return false;
}

/* Packed and causal: a row at or beyond its upper bound sees the key at the bound. */
static bool any_bound_admitted(const struct gqa__neuron *call)
{
    const gqa_neuron_call *const in = &call->in;

    for (int32_t t = 0; in->bound_max != NULL && in->bidirectional == 0 && t < call->tokens; t++) {
        if (in->bound_max[t] <= t && in->bound_max[t] < call->keys &&
            in->bound_min[t] <= in->bound_max[t]) {
            return true;
        }
    }
    return false;
}

static void warn_cte(struct gqa__neuron *call)
{
    const struct gqa__cte_plan plan = gqa__cte_plan(call);

    if (any_bound_admitted(call)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_BOUND_ADMITTED, "call.bound_max",
                         "attention_cte admits the key at bound_max itself, where that is not "
                         "beyond the query");
    }
    if (call->in.sinks.data == NULL && any_row_without_keys(call, &plan)) {
        gqa__neuron_warn(
            call, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS, "call.q",
            "a row that sees no key gets an average of the values that its tiles hold");
    }
    if ((call->out.neg_max.data != NULL || call->out.recip.data != NULL) &&
        call->tokens % GQA__CTE_GROUP != 0) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_LIMIT_LIFTED, "output.neg_max",
                         "attention_cte gives its softmax cache for multiples of 128 queries only");
    }
}

gqa_status gqa__cte_check(struct gqa__neuron *call, gqa_error *err)
{
    gqa_neuron_call *const in = &call->in;
    gqa_status status;

    in->release = in->release == GQA_NEURON_NEWEST ? GQA_NEURON_2_29 : in->release;
    in->scale = in->scale == 0.0f ? 1.0f : in->scale;
    status = check_cte_arguments(call, err);
    if (status == GQA_OK) {
        status = check_cte_limits(call, err);
    }
    if (status == GQA_OK) {
        warn_cte(call);
    }
    return status;
}
