/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - see tile.h: what a health report is told of a tile's scores and rows. */
#include <math.h>

#include "attention/tile.h"
#include "base/mathd.h"
#include "base/memory.h"
#include "base/units.h"

/* Where row r of the tile is; of no key yet. */
static struct gqa__health_place place_of(const struct gqa__tile *tile, int32_t r)
{
    const int32_t group = tile->params->shape.group;
    const struct gqa__segment *segment = tile->segment;
    int32_t at = tile->id.first + r;

    for (int32_t i = 0; tile->shared != NULL; i++) {
        segment = &tile->shared->segments[tile->shared->member[i]];
        if (at < segment->n * group) {
            break;
        }
        at -= segment->n * group;
    }
    const struct gqa__health_place place = {segment->entry, segment->column + at / group,
                                            tile->id.head * group + at % group, -1};

    return place;
}

void gqa__tile_note_scores(const struct gqa__tile *tile, int32_t first, int32_t keys,
                           const float *s)
{
    struct gqa__health *const health = tile->health;
    float most = -1.0f; /* base-2 units: they rise with natural ones */

    for (int32_t k = 0; k < keys; k++) {
        for (int32_t r = 0; r < tile->id.count; r++) {
            const float score = s[(int64_t)k * tile->ld + r];
            if (score != score) {
                health->seen.nan_scores++;
            } else if (score != -INFINITY && fabsf(score) >= most) {
                struct gqa__health_place place = place_of(tile, r);
                most = fabsf(score);
                place.key = first + k;
                gqa__health_score(health, fabs(gqa__from_units(score)), &place);
            }
        }
    }
}

/* The share of a sink in a softmax whose other keys have the state (m, l): 1 / (1 + e^(LSE -
 * sink)). */
static double share_of_sink(double m, double l, double sink)
{
    const double above = m + gqa__log(l) - sink;

    if (above > 700.0) {
        return 0.0;
    }
    return above < -700.0 ? 1.0 : 1.0 / (1.0 + gqa__exp(above));
}

void gqa__tile_note_rows(const struct gqa__tile *tile, const struct gqa__state *state)
{
    struct gqa__health *const health = tile->health;
    const float *const sinks = tile->segment->sinks;

    health->seen.rows += tile->id.count;
    for (int32_t r = 0; r < tile->id.count; r++) {
        const float m = state->m[r], l = state->l[r];
        const float sink = sinks != NULL ? sinks[place_of(tile, r).head] : -INFINITY;

        health->seen.empty_rows += l == 0.0f ? 1 : 0;
        health->seen.nan_rows += l != l ? 1 : 0;
        if (sink != -INFINITY && gqa__health_has_share((double)m, (double)l)) {
            gqa__health_sink(
                health,
                l == 0.0f ? 1.0 : share_of_sink(gqa__from_units(m), (double)l, (double)sink));
        }
    }
}
