/* SPDX-License-Identifier: Apache-2.0 */
/* maps_heads.c - heads and ranks: arguments checked, arrays filled. */
#include "api/maps_check.h"
#include "base/error.h"
#include "neuron/head_maps.h"

#define HEADS_MAX (1 << 15) /* so that no count of padded heads overflows */

static void check_head_counts(struct gqa__maps_check *check, int32_t query_heads, int32_t kv_heads,
                              int32_t tp_degree)
{
    gqa__maps_number(check, "query_heads", query_heads, 1, HEADS_MAX);
    gqa__maps_number(check, "kv_heads", kv_heads, 1, HEADS_MAX);
    gqa__maps_number(check, "tp_degree", tp_degree, 1, GQA_NEURON_RANKS_MAX);
    if (check->status == GQA_OK) {
        gqa__maps_multiple(check, "query_heads", query_heads, "kv_heads", kv_heads);
    }
}

gqa_status gqa_neuron_count_heads(int32_t query_heads, int32_t kv_heads, int32_t tp_degree,
                                  gqa_neuron_heads *heads, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    check_head_counts(&check, query_heads, kv_heads, tp_degree);
    gqa__maps_pointer(&check, "heads", heads);
    if (check.status == GQA_OK) {
        *heads = gqa__neuron_count_heads(query_heads, kv_heads, tp_degree);
    }
    return check.status;
}

gqa_status gqa_neuron_map_heads(int32_t query_heads, int32_t kv_heads, int32_t tp_degree,
                                int32_t *q_map, int32_t *kv_map, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};
    gqa_neuron_heads heads;

    check_head_counts(&check, query_heads, kv_heads, tp_degree);
    if (check.status != GQA_OK) {
        return check.status;
    }
    heads = gqa__neuron_count_heads(query_heads, kv_heads, tp_degree);
    for (int32_t i = 0; i < heads.query_heads && q_map != NULL; i++) {
        q_map[i] = gqa__neuron_query_source(query_heads, kv_heads, &heads, i);
    }
    for (int32_t i = 0; i < heads.kv_heads && kv_map != NULL; i++) {
        kv_map[i] = gqa__neuron_kv_source(query_heads, kv_heads, &heads, i);
    }
    return GQA_OK;
}

gqa_status gqa_neuron_mesh(int32_t world, int32_t groups, int32_t *mesh, int32_t *place,
                           gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "world", world, 1, GQA_NEURON_RANKS_MAX);
    gqa__maps_number(&check, "groups", groups, 1, GQA_NEURON_RANKS_MAX);
    if (check.status == GQA_OK) {
        gqa__maps_multiple(&check, "world", world, "groups", groups);
    }
    for (int32_t i = 0; i < world && check.status == GQA_OK; i++) {
        if (mesh != NULL) {
            mesh[i] = gqa__neuron_mesh_rank(world, groups, i);
        }
        if (place != NULL) {
            place[i] = gqa__neuron_mesh_place(world, groups, i);
        }
    }
    return check.status;
}

/* Heads are shared out evenly over n ranks, or n ranks evenly over heads. */
static void check_shares(struct gqa__maps_check *check, int32_t kv_heads, int32_t n)
{
    if (check->status == GQA_OK && kv_heads % n != 0 && n % kv_heads != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "kv_heads",
                                  "is %d; it must divide the %d ranks that share out heads, or "
                                  "be a multiple of them",
                                  (int)kv_heads, (int)n);
    }
}

static void check_order_8x8(struct gqa__maps_check *check, const gqa_neuron_ranks *ranks)
{
    const bool square = ranks->world == 64 && ranks->cp_degree == 8;

    if (ranks->order_8x8 != 0 && !square) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "order_8x8",
                                  "is 1; it needs world (%d) 64 and cp_degree (%d) 8",
                                  (int)ranks->world, (int)ranks->cp_degree);
    } else if (square && ranks->dp_degree == 8) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "dp_degree",
                                  "is 8, as cp_degree is, with world 64; both use one mesh, and "
                                  "there is nothing to reorder");
    }
}

static void check_ranks(struct gqa__maps_check *check, const gqa_neuron_ranks *ranks)
{
    int32_t group;

    gqa__maps_number(check, "world", ranks->world, 1, GQA_NEURON_RANKS_MAX);
    gqa__maps_number(check, "cp_degree", ranks->cp_degree, 1, GQA_NEURON_RANKS_MAX);
    gqa__maps_number(check, "dp_degree", ranks->dp_degree, 0, GQA_NEURON_RANKS_MAX);
    gqa__maps_number(check, "kv_heads", ranks->kv_heads, 1, HEADS_MAX);
    gqa__maps_flag(check, "order_8x8", ranks->order_8x8);
    if (check->status != GQA_OK) {
        return;
    }
    gqa__maps_multiple(check, "world", ranks->world, "cp_degree", ranks->cp_degree);
    gqa__maps_multiple(check, "cp_degree", ranks->cp_degree, "dp_degree",
                       gqa__neuron_dp_degree(ranks));
    if (check->status != GQA_OK) {
        return;
    }
    group = ranks->world / gqa__neuron_dp_degree(ranks);
    check_order_8x8(check, ranks);
    if (check->status == GQA_OK && group < ranks->kv_heads) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "kv_heads",
                                  "is %d; a group of token generation has %d ranks, and each must "
                                  "hold one head alone",
                                  (int)ranks->kv_heads, (int)group);
    }
    if (check->status == GQA_OK && group % ranks->kv_heads != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "kv_heads",
                                  "is %d; it must divide the %d ranks of a group of token "
                                  "generation",
                                  (int)ranks->kv_heads, (int)group);
    }
    check_shares(check, ranks->kv_heads, ranks->world / ranks->cp_degree);
}

gqa_status gqa_neuron_rank_order(const gqa_neuron_ranks *ranks, int32_t *order, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_pointer(&check, "ranks", ranks);
    gqa__maps_pointer(&check, "order", order);
    if (check.status == GQA_OK) {
        check_ranks(&check, ranks);
    }
    if (check.status == GQA_OK) {
        gqa__neuron_rank_order(ranks, order);
    }
    return check.status;
}

gqa_status gqa_neuron_rank_heads(const gqa_neuron_ranks *ranks, int32_t *index, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_pointer(&check, "ranks", ranks);
    gqa__maps_pointer(&check, "index", index);
    if (check.status == GQA_OK) {
        check_ranks(&check, ranks);
    }
    if (check.status == GQA_OK) {
        gqa__maps_number(&check, "order_8x8", ranks->order_8x8, 0, 0);
    }
    if (check.status == GQA_OK) {
        gqa__neuron_rank_heads(ranks, index);
    }
    return check.status;
}

/* KV heads that each of n ranks holds. */
static int32_t heads_each(int32_t kv_heads, int32_t n)
{
    return kv_heads < n ? 1 : kv_heads / n;
}

gqa_status gqa_neuron_dp_supported(int32_t kv_heads, int32_t world, int32_t dp_degree,
                                   int32_t *supported, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "kv_heads", kv_heads, 1, HEADS_MAX);
    gqa__maps_number(&check, "world", world, 1, GQA_NEURON_RANKS_MAX);
    gqa__maps_number(&check, "dp_degree", dp_degree, 1, GQA_NEURON_RANKS_MAX);
    gqa__maps_pointer(&check, "supported", supported);
    if (check.status == GQA_OK) {
        gqa__maps_multiple(&check, "world", world, "dp_degree", dp_degree);
    }
    if (check.status == GQA_OK) {
        *supported = heads_each(kv_heads, world / dp_degree) == heads_each(kv_heads, world);
    }
    return check.status;
}

gqa_status gqa_neuron_stride_order(int32_t length, int32_t stride, int32_t *order, int32_t *inverse,
                                   gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "length", length, 1, INT32_MAX);
    gqa__maps_number(&check, "stride", stride, 1, INT32_MAX);
    if (check.status == GQA_OK) {
        gqa__maps_multiple(&check, "length", length, "stride", stride);
    }
    for (int32_t i = 0; i < length && check.status == GQA_OK; i++) {
        const int32_t each = length / stride;
        if (order != NULL) {
            order[i] = i % each * stride + i / each;
        }
        if (inverse != NULL) {
            inverse[i] = i % stride * each + i / stride;
        }
    }
    return check.status;
}
