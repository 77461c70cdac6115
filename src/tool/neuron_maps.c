/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_maps.c - see neuron_maps.h; and the maps of strategy and heads. */
#include "tool/neuron_maps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/neuron_maps.h"

/* --- results -----------------------------------------------------------------------------------
 */

struct tool_maps_table tool_maps_table(struct tool_maps *maps, const char *name, int64_t columns)
{
    const struct tool_tensor *const tensor = tool_file_find(maps->record->c->file, name);
    struct tool_maps_table table = {NULL, 0};

    if (maps->fault->text[0] != '\0') {
        return table;
    }
    if (tensor == NULL || tensor->dtype != TOOL_I32 || columns < 1 ||
        tensor->count % columns != 0) {
        tool_fault_set(maps->fault, maps->record->c->path,
                       "there is no tensor %.80s of I32 with rows of %lld", name,
                       (long long)columns);
        return table;
    }
    table.row = tensor->data;
    table.rows = tensor->count / columns;
    return table;
}

bool tool_maps_fits(struct tool_maps *maps, int64_t n)
{
    return (n >= 0 && n <= TOOL_MAPS_ROOM) ||
           tool_fault_set(maps->fault, maps->record->c->path,
                          "asks for a result of %lld numbers; at most %d", (long long)n,
                          TOOL_MAPS_ROOM);
}

bool tool_maps_did(struct tool_maps *maps, const char *call, gqa_status status)
{
    return status == GQA_OK || tool_fault_gqa(maps->fault, maps->record->c->path, call, &maps->err);
}

static int64_t filled(const struct tool_maps *maps, const char *name)
{
    const struct tool_neuron_value *const value = tool_neuron_value_of(maps->record, name);

    return value == NULL ? 0 : value->filled;
}

void tool_maps_append(struct tool_maps *maps, const char *name, const int32_t *from, int64_t n)
{
    const int64_t at = filled(maps, name);

    for (int64_t i = 0; i < n; i++) {
        tool_neuron_put_int(maps->record, name, at + i, from[i]);
    }
}

void tool_maps_append_bytes(struct tool_maps *maps, const char *name, const uint8_t *from,
                            int64_t n)
{
    const int64_t at = filled(maps, name);

    for (int64_t i = 0; i < n; i++) {
        tool_neuron_put_int(maps->record, name, at + i, from[i]);
    }
}

void tool_maps_offset(struct tool_maps *maps, const char *name)
{
    const int32_t at = (int32_t)filled(maps, name);
    char offsets[96];

    snprintf(offsets, sizeof offsets, "%s_offsets", name);
    tool_maps_append(maps, offsets, &at, 1);
}

/* --- strategy ----------------------------------------------------------------------------------
 */

static gqa_neuron_attn_kernel attn_kernel(int32_t code)
{
    return code == 0   ? GQA_NEURON_ATTN_KERNEL_FALSE
           : code == 1 ? GQA_NEURON_ATTN_KERNEL_TRUE
                       : GQA_NEURON_ATTN_KERNEL_AUTO;
}

void tool_maps_strategy(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "rows", 10);
    const int32_t *row = table.row;

    for (int64_t i = 0; i < table.rows && maps->fault->text[0] == '\0'; i++, row += 10) {
        const gqa_neuron_strategy_input in = {(gqa_neuron_release)(200 + row[0]),
                                              attn_kernel(row[1]),
                                              row[2],
                                              row[3],
                                              row[4],
                                              row[5],
                                              row[6],
                                              row[7],
                                              row[8],
                                              row[9]};
        gqa_neuron_flash_strategy strategy = GQA_NEURON_STRATEGY_NONE;
        const gqa_status status = gqa_neuron_strategy(&in, &strategy, &maps->err);
        const int32_t code = status == GQA_ERR_UNSUPPORTED ? -1 : (int32_t)strategy;

        if (code == -1 || tool_maps_did(maps, "gqa_neuron_strategy", status)) {
            tool_maps_append(maps, "exp.strategy", &code, 1);
        }
    }
}

/* --- heads and ranks ---------------------------------------------------------------------------
 */

static void map_all_heads(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "heads", 3);
    const int32_t *row = table.row;

    tool_maps_offset(maps, "exp.q_map");
    tool_maps_offset(maps, "exp.kv_map");
    for (int64_t i = 0; i < table.rows; i++, row += 3) {
        gqa_neuron_heads heads;
        if (!tool_maps_did(maps, "gqa_neuron_count_heads",
                           gqa_neuron_count_heads(row[0], row[1], row[2], &heads, &maps->err)) ||
            !tool_maps_fits(maps, heads.query_heads) || !tool_maps_fits(maps, heads.kv_heads) ||
            !tool_maps_did(maps, "gqa_neuron_map_heads",
                           gqa_neuron_map_heads(row[0], row[1], row[2], maps->numbers, maps->more,
                                                &maps->err))) {
            return;
        }
        const int32_t counts[4] = {(int32_t)heads.sharding, heads.query_heads, heads.kv_heads,
                                   heads.kv_heads_loaded};
        tool_maps_append(maps, "exp.counts", counts, 4);
        tool_maps_append(maps, "exp.q_map", maps->numbers, heads.query_heads);
        tool_maps_append(maps, "exp.kv_map", maps->more, heads.kv_heads);
        tool_maps_offset(maps, "exp.q_map");
        tool_maps_offset(maps, "exp.kv_map");
    }
}

/* The order of ranks and the KV head of each; an empty row where Neuron refuses. */
static bool order_ranks(struct tool_maps *maps, gqa_neuron_ranks ranks, const char *order,
                        const char *heads)
{
    gqa_status status;

    if (!tool_maps_fits(maps, ranks.world)) {
        return false;
    }
    status = gqa_neuron_rank_order(&ranks, maps->numbers, &maps->err);
    if (status != GQA_ERR_UNSUPPORTED) {
        ranks.order_8x8 = 0; /* the heads are stored without it */
        if (!tool_maps_did(maps, "gqa_neuron_rank_order", status) ||
            !tool_maps_did(maps, "gqa_neuron_rank_heads",
                           gqa_neuron_rank_heads(&ranks, maps->more, &maps->err))) {
            return false;
        }
        tool_maps_append(maps, order, maps->numbers, ranks.world);
        tool_maps_append(maps, heads, maps->more, ranks.world);
    }
    tool_maps_offset(maps, order);
    return true;
}

static void order_all_ranks(struct tool_maps *maps)
{
    const struct tool_maps_table tp = tool_maps_table(maps, "tp_order", 4);
    const struct tool_maps_table dp = tool_maps_table(maps, "dp_order", 5);
    const int32_t *row = tp.row;
    bool good = true;

    tool_maps_offset(maps, "exp.tp_order");
    for (int64_t i = 0; good && i < tp.rows; i++, row += 4) {
        const gqa_neuron_ranks ranks = {row[0], row[1], 0, row[2], row[3]};
        good = order_ranks(maps, ranks, "exp.tp_order", "exp.kv_head_index");
    }
    row = dp.row;
    tool_maps_offset(maps, "exp.dp_order");
    tool_maps_offset(maps, "exp.dp_kv_head_index");
    for (int64_t i = 0; good && i < dp.rows; i++, row += 5) {
        const gqa_neuron_ranks ranks = {row[0], row[1], row[2], row[3], row[4]};
        good = order_ranks(maps, ranks, "exp.dp_order", "exp.dp_kv_head_index");
        tool_maps_offset(maps, "exp.dp_kv_head_index");
    }
}

static void order_tokens(struct tool_maps *maps)
{
    const struct tool_maps_table strides = tool_maps_table(maps, "stride", 2);
    const int32_t *row = strides.row;

    tool_maps_offset(maps, "exp.stride_order");
    for (int64_t i = 0; i < strides.rows && tool_maps_fits(maps, row[0]); i++, row += 2) {
        if (!tool_maps_did(
                maps, "gqa_neuron_stride_order",
                gqa_neuron_stride_order(row[0], row[1], maps->numbers, maps->more, &maps->err))) {
            return;
        }
        tool_maps_append(maps, "exp.stride_order", maps->numbers, row[0]);
        tool_maps_append(maps, "exp.unstride_order", maps->more, row[0]);
        tool_maps_offset(maps, "exp.stride_order");
    }
}

void tool_maps_heads(struct tool_maps *maps)
{
    const struct tool_maps_table dp = tool_maps_table(maps, "dp_supported", 3);
    const int32_t *row = dp.row;

    map_all_heads(maps);
    order_all_ranks(maps);
    order_tokens(maps);
    if (tool_maps_did(maps, "gqa_neuron_mesh",
                      gqa_neuron_mesh(64, 8, maps->numbers, maps->more, &maps->err))) {
        tool_maps_append(maps, "exp.mesh_8x8", maps->numbers, 64);
        tool_maps_append(maps, "exp.cte_order_8x8", maps->more, 64);
    }
    for (int64_t i = 0; i < dp.rows; i++, row += 3) {
        int32_t supported = 0;
        if (!tool_maps_did(
                maps, "gqa_neuron_dp_supported",
                gqa_neuron_dp_supported(row[0], row[1], row[2], &supported, &maps->err))) {
            return;
        }
        tool_maps_append(maps, "exp.dp_supported", &supported, 1);
    }
}

/* --- a file ------------------------------------------------------------------------------------
 */

bool tool_neuron_maps_run(struct tool_neuron_record *record, struct tool_fault *fault)
{
    static const struct {
        enum tool_neuron_maps which;
        void (*run)(struct tool_maps *maps);
    } kinds[] = {{TOOL_MAPS_STRATEGY, tool_maps_strategy},
                 {TOOL_MAPS_HEADS, tool_maps_heads},
                 {TOOL_MAPS_CACHES, tool_maps_caches},
                 {TOOL_MAPS_SCHEDULE, tool_maps_schedules}};
    struct tool_maps maps = {.record = record, .fault = fault};

    maps.numbers = calloc(TOOL_MAPS_ROOM, sizeof *maps.numbers);
    maps.more = calloc(TOOL_MAPS_ROOM, sizeof *maps.more);
    maps.bytes = calloc(TOOL_MAPS_ROOM, sizeof *maps.bytes);
    if (maps.numbers == NULL || maps.more == NULL || maps.bytes == NULL) {
        tool_fault_set(fault, record->c->path, "no memory for the maps");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && fault->text[0] == '\0'; i++) {
        if (kinds[i].which == record->c->maps) {
            kinds[i].run(&maps);
        }
    }
    free(maps.numbers);
    free(maps.more);
    free(maps.bytes);
    return fault->text[0] == '\0';
}
