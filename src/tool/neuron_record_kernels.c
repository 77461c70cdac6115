/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_record_kernels.c - the tensors that files of the flash kernels expect. */
#include "tool/neuron_record.h"

enum { PARTITIONS = 128 };

/* Rows of a probed tile, as the file has them: [rows of the file][columns]. */
struct probe {
    const char *name;
    const float *from; /* [rows][..] */
    int64_t step;
};

static void put_probe(struct tool_neuron_record *record, const struct probe *probe, int64_t column,
                      int64_t columns, int64_t rows)
{
    const int64_t width = tool_neuron_extent(record, probe->name, 1);
    const int64_t height = tool_neuron_extent(record, probe->name, 0);

    for (int64_t r = 0; r < height && r < rows; r++) {
        tool_neuron_put(record, probe->name, r * width + column, probe->from + r * probe->step,
                        columns);
    }
}

/* --- flash_fwd ---------------------------------------------------------------------------------
 */

static int32_t sub_code(gqa_neuron_fate fate)
{
    switch (fate) {
    case GQA_NEURON_FILLED:
        return 1;
    case GQA_NEURON_MASKED:
        return 2;
    case GQA_NEURON_WHOLE:
        return 3;
    case GQA_NEURON_ALL_MASKED:
        return 4;
    default:
        return 0;
    }
}

static void flash_large(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t i = tile->query / PARTITIONS;
    const int64_t heads = record->c->call.q.shape[2];
    const int64_t query_tiles = tool_neuron_extent(record, "trace.large", 0);
    const int64_t large_tiles = tool_neuron_extent(record, "trace.large", 1);
    const int64_t grid = i * large_tiles + tile->large;
    const int64_t at = (tile->batch * heads + tile->head) * query_tiles * large_tiles * PARTITIONS +
                       grid * PARTITIONS;
    const bool executed = tile->fate == GQA_NEURON_WHOLE;
    const struct probe s = {"trace.s_tile", tile->s, tile->score_step};
    const struct probe p = {"trace.p_tile", tile->p, tile->score_step};

    tool_neuron_put(record, "trace.m", at, tile->m, tile->rows);
    tool_neuron_put(record, "trace.l", at, tile->l, tile->rows);
    tool_neuron_put(record, "trace.alpha", at, tile->alpha, tile->rows);
    tool_neuron_put(record, "trace.row_sum", at, tile->row_sum, tile->rows);
    tool_neuron_put(record, "trace.o", at * tile->dim, tile->o, (int64_t)tile->rows * tile->dim);
    if (executed && tile->batch == tool_neuron_probe(record, "b") &&
        tile->head == tool_neuron_probe(record, "h") && i == tool_neuron_probe(record, "q_tile") &&
        tile->large == tool_neuron_probe(record, "large_tile")) {
        put_probe(record, &s, 0, tile->keys, tile->rows);
        put_probe(record, &p, 0, tile->keys, tile->rows);
    }
    if (tile->batch == 0 && tile->head == 0) {
        tool_neuron_put_int(record, "trace.large", grid,
                            executed                                  ? 1
                            : tile->fate == GQA_NEURON_SKIPPED_CAUSAL ? 0
                                                                      : 2);
        if (executed) {
            tool_neuron_put_int(record, "trace.order", 2 * record->executed, (int32_t)i);
            tool_neuron_put_int(record, "trace.order", 2 * record->executed + 1, tile->large);
            record->executed++;
        }
    }
}

void tool_neuron_record_flash(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t large_tiles = tool_neuron_extent(record, "trace.sub", 1);
    const int64_t sub_tiles = tool_neuron_extent(record, "trace.sub", 2);

    if (tile->event == GQA_NEURON_LARGE) {
        flash_large(record, tile);
    } else if (tile->event == GQA_NEURON_MM1 && tile->batch == 0 && tile->head == 0) {
        tool_neuron_put_int(record, "trace.sub",
                            (tile->query / PARTITIONS * large_tiles + tile->large) * sub_tiles +
                                tile->tile,
                            sub_code(tile->fate));
    }
}

/* --- cte ---------------------------------------------------------------------------------------
 */

static int32_t mm1_code(const gqa_neuron_tile *tile)
{
    if (tile->fate > GQA_NEURON_ALL_MASKED) {
        return 0;
    }
    if (tile->part == GQA_NEURON_PRIOR) {
        return 4;
    }
    return tile->masking == GQA_NEURON_MASKING_RANGE_SELECT ? 1
           : tile->masking == GQA_NEURON_MASKING_AFFINE     ? 2
                                                            : 3;
}

/* Where a group of a head lies in tensors [B, Hq, groups, ..]. */
static int64_t group_of(const struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t groups = tool_neuron_extent(record, "trace.mm1", 0);

    return (tile->batch * record->c->call.q.shape[2] + tile->head) * groups +
           tile->query / PARTITIONS;
}

static void cte_tile(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t sections = tool_neuron_extent(record, "trace.m", 3);
    const int64_t k_tiles = tool_neuron_extent(record, "trace.mm1", 1);
    const int64_t v_tiles = tool_neuron_extent(record, "trace.mm2", 1);
    const int64_t group = tile->query / PARTITIONS;
    const bool first_head = tile->batch == 0 && tile->head == 0;
    const int64_t k = tile->section * (sections > 0 ? k_tiles / sections : 0) + tile->tile;
    const int64_t v = tile->section * (sections > 0 ? v_tiles / sections : 0) + tile->tile;
    const int64_t at = (group_of(record, tile) * k_tiles + k) * PARTITIONS;
    const bool probed = tile->batch == tool_neuron_probe(record, "b") &&
                        tile->head == tool_neuron_probe(record, "h") &&
                        group == tool_neuron_probe(record, "group") &&
                        k == tool_neuron_probe(record, "k_tile");
    const struct probe s = {"trace.s_tile", tile->s, tile->score_step};
    const struct probe p = {"trace.p_tile", tile->p, tile->score_step};

    if (tile->event == GQA_NEURON_MM2 && first_head) {
        tool_neuron_put_int(record, "trace.mm2", group * v_tiles + v,
                            tile->fate == GQA_NEURON_WHOLE);
    }
    if (tile->event == GQA_NEURON_MM1 && first_head) {
        tool_neuron_put_int(record, "trace.mm1", group * k_tiles + k, mm1_code(tile));
    }
    if (tile->event == GQA_NEURON_MM1 && tile->s != NULL) {
        tool_neuron_put(record, "trace.tile_max", at, tile->tile_max, tile->rows);
        if (probed) {
            put_probe(record, &s, 0, tile->keys, tile->rows);
        }
    }
    if (tile->event == GQA_NEURON_EXP) {
        tool_neuron_put(record, "trace.tile_sum", at, tile->row_sum, tile->rows);
        if (probed) {
            put_probe(record, &p, 0, tile->keys, tile->rows);
        }
    }
}

static void cte_section(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t heads = record->c->call.q.shape[2];
    const int64_t tokens = record->c->call.q.shape[1];
    const int64_t sections = tool_neuron_extent(record, "trace.m", 3);
    const int64_t at = (group_of(record, tile) * sections + tile->section) * PARTITIONS;

    if (tile->m == NULL) { /* skipped */
        return;
    }
    tool_neuron_put(record, "trace.m", at, tile->m, tile->rows);
    tool_neuron_put(record, "trace.l", at, tile->l, tile->rows);
    tool_neuron_put(record, "trace.alpha", at, tile->alpha, tile->rows);
    for (int64_t r = 0; tile->o != NULL && r < tile->rows; r++) {
        const int64_t row = (tile->batch * heads + tile->head) * tokens + tile->query + r;
        tool_neuron_put(record, "trace.o_section", (row * sections + tile->section) * tile->dim,
                        tile->o + r * tile->dim, tile->dim);
    }
}

void tool_neuron_record_cte(struct tool_neuron_record *record, const gqa_neuron_tile *tile)
{
    const int64_t sections = tool_neuron_extent(record, "trace.o_large", 3);
    const int64_t larges = tool_neuron_extent(record, "trace.o_large", 4);

    if (tile->event == GQA_NEURON_SECTION) {
        cte_section(record, tile);
    } else if (tile->event == GQA_NEURON_LARGE) {
        tool_neuron_put(
            record, "trace.o_large",
            ((group_of(record, tile) * sections + tile->section) * larges + tile->large) *
                PARTITIONS * tile->dim,
            tile->o, (int64_t)tile->rows * tile->dim);
    } else if (tile->event != GQA_NEURON_ROWS) {
        cte_tile(record, tile);
    }
}
