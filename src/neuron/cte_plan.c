/* SPDX-License-Identifier: Apache-2.0 */
/* cte_plan.c - see cte.h. */
#include "neuron/cte.h"

#include "base/memory.h"

static int32_t cte_divide_up(int32_t n, int32_t by)
{
    return n / by + (n % by != 0);
}

/* With contiguous context parallelism and a window no more than T + W - 1 keys are loaded, in whole
 * K tiles, and they end where the rows do. */
static void choose_active(const struct gqa__neuron *call, struct gqa__cte_plan *plan)
{
    const gqa_neuron_call *const in = &call->in;
    const int64_t reach = (int64_t)call->tokens + in->window - 1;

    plan->active = call->keys;
    plan->active_offset = 0;
    if (in->window > 0 && in->cp_degree > 0 && in->cp_strided == 0) {
        plan->active = (int32_t)gqa__min(call->keys, gqa__round_up(reach, GQA__CTE_K_TILE));
        plan->active_offset =
            (int32_t)gqa__max(0, (int64_t)in->cp_offset - (plan->active - call->tokens));
    }
}

struct gqa__cte_plan gqa__cte_plan(const struct gqa__neuron *call)
{
    const gqa_neuron_call *const in = &call->in;
    const bool contiguous = in->cp_degree > 0 && in->cp_strided == 0;
    struct gqa__cte_plan plan;

    plan.packed = in->bound_min != NULL;
    plan.skips = in->bidirectional == 0 && !contiguous;
    plan.range_select =
        in->cp_degree > 0 || plan.packed || (in->window > 0 && in->window <= GQA__CTE_SMALL_WINDOW);
    plan.prior_padded = (int32_t)gqa__round_up(call->prior, GQA__CTE_K_TILE);
    choose_active(call, &plan);
    plan.slots = plan.prior_padded + plan.active;
    plan.section_len = plan.slots > GQA__CTE_SECTION_THRESHOLD ? GQA__CTE_SECTION : plan.slots;
    plan.sections = plan.slots > 0 ? cte_divide_up(plan.slots, plan.section_len) : 0;
    plan.k_tiles = cte_divide_up(plan.section_len, GQA__CTE_K_TILE);
    plan.v_tiles = cte_divide_up(plan.section_len, GQA__CTE_V_TILE);
    plan.large_tiles = cte_divide_up(plan.section_len, GQA__CTE_LARGE_TILE);
    plan.groups = cte_divide_up(call->tokens, GQA__CTE_GROUP);
    return plan;
}

struct gqa__cte_tile gqa__cte_tile(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                                   int32_t slot, int32_t size)
{
    const bool prior = slot < plan->prior_padded;
    const int32_t first = prior ? slot : slot - plan->prior_padded;
    const int32_t left = (prior ? call->prior : plan->active) - first;
    const int32_t keys = (int32_t)gqa__max(0, gqa__min(size, left));

    return (struct gqa__cte_tile){slot, first, keys, prior};
}

/* The largest and the smallest position that a query of the group has on any rank. */
static int64_t most_position(const struct gqa__neuron *call, int32_t g)
{
    const int64_t row = (int64_t)g * GQA__CTE_GROUP + GQA__CTE_GROUP - 1;
    const int64_t degree = call->in.cp_degree;

    return call->in.cp_strided != 0 ? row * degree + degree - 1 : row;
}

static int64_t least_position(const struct gqa__neuron *call, int32_t g)
{
    const int64_t row = (int64_t)g * GQA__CTE_GROUP;

    return call->in.cp_strided != 0 ? row * call->in.cp_degree : row;
}

gqa_neuron_fate gqa__cte_computes(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                                  int32_t g, const struct gqa__cte_tile *tile, int32_t size)
{
    const int64_t last = (int64_t)tile->first + size - 1;

    if (!plan->skips || tile->prior) {
        return GQA_NEURON_WHOLE;
    }
    if (most_position(call, g) < tile->first) { /* _has_any_compute_causal */
        return GQA_NEURON_SKIPPED_CAUSAL;
    }
    if (call->in.window > 0 && least_position(call, g) >= last + call->in.window) {
        return GQA_NEURON_SKIPPED_WINDOW; /* _has_any_compute_swa */
    }
    return GQA_NEURON_WHOLE;
}

bool gqa__cte_computes_section(const struct gqa__neuron *call, const struct gqa__cte_plan *plan,
                               int32_t g, int32_t s)
{
    const int64_t slot = (int64_t)s * plan->section_len;

    return !plan->skips || slot < plan->prior_padded ||
           most_position(call, g) >= slot - plan->prior_padded;
}

gqa_neuron_masking gqa__cte_masking(const struct gqa__neuron *call,
                                    const struct gqa__cte_plan *plan, int32_t g,
                                    const struct gqa__cte_tile *tile)
{
    const bool diagonal = (int64_t)g * GQA__CTE_GROUP < (int64_t)tile->first + GQA__CTE_K_TILE;

    if (plan->range_select || tile->prior) {
        return GQA_NEURON_MASKING_RANGE_SELECT;
    }
    return plan->skips && (diagonal || call->in.window > 0) ? GQA_NEURON_MASKING_AFFINE
                                                            : GQA_NEURON_MASKING_NONE;
}

struct gqa__cte_range gqa__cte_sees(const struct gqa__neuron *call,
                                    const struct gqa__cte_plan *plan, int32_t t, bool prior)
{
    const gqa_neuron_call *const in = &call->in;
    const int64_t step = in->cp_strided != 0 ? in->cp_degree : 1;
    const int64_t position = in->cp_offset + t * step;
    struct gqa__cte_range range = {0, call->keys};

    if (prior) {
        range.end = in->prior_used;
        range.begin = in->window > 0 ? position + in->prior_used - (in->window - 1) : 0;
        return range;
    }
    if (in->bidirectional == 0) {
        range.end = position + 1;
    }
    if (plan->packed) { /* causal: up to the bound, which is itself admitted */
        range.end = gqa__min(range.end, in->bound_max[t] + (in->bidirectional == 0));
        range.begin = in->bound_min[t];
    }
    if (in->window > 0) {
        range.begin = gqa__max(range.begin, range.end - in->window);
    }
    range.begin -= plan->active_offset;
    range.end -= plan->active_offset;
    return range;
}
