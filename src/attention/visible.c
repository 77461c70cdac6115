/* visible.c - the explicit restrictions of a segment, gathered for one tile and key block. */
#include "attention/tile.h"

#include <math.h>

#include "base/tensor.h"
#include "stage/span.h"

/* Offset of [batch][head][row][0] in a [1|B, 1|Hq, T, K] tensor. */
static int64_t mask_row(const gqa_tensor *t, int32_t batch, int32_t head, int32_t row)
{
    const int64_t b = t->shape[0] == 1 ? 0 : batch;
    const int64_t h = t->shape[1] == 1 ? 0 : head;

    return b * t->stride[0] + h * t->stride[1] + row * t->stride[2];
}

/* May token i of the segment see a key at this column and position, heads aside? */
static bool token_sees(const struct gqa__tile *tile, int32_t i, int32_t column, int32_t position)
{
    const struct gqa__segment *const segment = tile->segment;

    if (segment->key_begin != NULL &&
        (column < segment->key_begin[i] || column >= segment->key_end[i])) {
        return false;
    }
    if (gqa__present(&segment->active_mask) && column >= segment->active_column) {
        const gqa_tensor *const t = &segment->active_mask;
        const int64_t b = t->shape[0] == 1 ? 0 : segment->batch;
        int64_t at =
            b * t->stride[0] + (segment->row0 + i) * t->stride[1] + column - segment->active_column;
        if (!gqa__mask_at(t, at)) {
            return false;
        }
    }
    if (!segment->view.ordered) {
        struct gqa__span span =
            gqa__span_of(&tile->params->shape, segment->view.origin, segment->positions[i]);
        return position >= span.first && position <= span.last;
    }
    return true;
}

void gqa__tile_visible(struct gqa__tile *tile, int32_t first, int32_t keys)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const struct gqa__segment *const segment = tile->segment;
    const gqa_tensor *const mask = &segment->mask;
    const bool biased = gqa__present(&segment->bias);
    const int32_t group = tile->map.group;

    for (int32_t r = 0; r < tile->ld; r++) { /* lanes beyond the rows have an empty range */
        const int32_t i = (tile->id.first + r) / group;
        const int32_t head = tile->id.head * group + (tile->id.first + r) % group;
        const bool masked = gqa__present(mask) && r < tile->id.count;
        const int64_t row = masked ? mask_row(mask, segment->batch, head, segment->row0 + i) : 0;
        for (int32_t k = 0; k < keys; k++) {
            const int64_t at = (int64_t)k * tile->ld + r;
            const bool in_range = first + k >= scratch->lo[r] && first + k < scratch->hi[r];
            const bool sees =
                in_range && token_sees(tile, i, scratch->columns[k], scratch->k_pos[k]) &&
                (!gqa__present(mask) || gqa__mask_at(mask, row + scratch->columns[k]));
            /* By select: NaN - inf would not mask. */
            scratch->visible[at] = sees && !(biased && scratch->bias[at] == -INFINITY);
        }
    }
}

void gqa__tile_bias(struct gqa__tile *tile, int32_t first, int32_t keys)
{
    struct gqa__tile_scratch *const scratch = tile->scratch;
    const struct gqa__segment *const segment = tile->segment;
    const int32_t group = tile->map.group;

    for (int32_t r = 0; r < tile->ld; r++) {
        const int32_t i = (tile->id.first + r) / group;
        const int32_t head = tile->id.head * group + (tile->id.first + r) % group;
        const bool real = r < tile->id.count;
        const int64_t row =
            real ? mask_row(&segment->bias, segment->batch, head, segment->row0 + i) : 0;
        for (int32_t k = 0; k < keys; k++) {
            float value = 0.0f;
            if (real && first + k >= scratch->lo[r] && first + k < scratch->hi[r]) {
                gqa__load_f32(&value, &segment->bias, row + scratch->columns[k], 1);
            }
            scratch->bias[(int64_t)k * tile->ld + r] = value;
        }
    }
}
