/* SPDX-License-Identifier: Apache-2.0 */
/* stored.c - see stored.h. By bits: the thread's floating-point mode may be the caller's. */
#include "cache/stored.h"

#include <string.h>

#include "base/fpmode.h"
#include "base/hadamard.h"

static uint32_t size_bits(float x)
{
    return gqa__f32_bits(x) & 0x7fffffffu;
}

static bool is_nan(float x)
{
    return size_bits(x) > 0x7f800000u;
}

static bool is_finite(float x)
{
    return size_bits(x) < 0x7f800000u;
}

/* Codes and their scales. Where a scale is NaN or 0 the codes are 0. All that a NaN of a rotated
 * row is spread over has a scale that is NaN, or comes from one that has. */
static void count_codes(gqa_health_stored *count, const float *x, const float *given,
                        const struct gqa__row *row, gqa_dtype dtype, int32_t dim)
{
    const int32_t group = gqa__scale_group(dtype, dim);
    const uint32_t limit = gqa__f32_bits(gqa__code_limit(dtype));

    for (int32_t d = 0; d < dim; d++) {
        const bool nan = is_nan(row->scale[d / group]);
        const uint32_t code = size_bits(gqa__code_value(dtype, row->element, d));

        count->lost += nan && !is_nan(x[d]);
        count->vanished += !nan && code == 0 && size_bits(given[d]) != 0;
        count->saturated += code == limit;
    }
}

void gqa__stored_row(gqa_health_stored *count, const float *x, const float *given,
                     const struct gqa__row *row, gqa_dtype dtype, int32_t dim)
{
    float y[GQA__HEAD_DIM_MAX];

    count->values += dim;
    if (gqa__scaled(dtype)) {
        count_codes(count, x, given, row, dtype, dim);
        return;
    }
    gqa__row_values(row, (struct gqa__row_form){dtype, false}, dim, y);
    for (int32_t d = 0; d < dim; d++) {
        count->vanished += size_bits(y[d]) == 0 && size_bits(x[d]) != 0;
        count->saturated += is_finite(x[d]) && !is_finite(y[d]);
    }
}

void gqa__stored_in_cache(gqa_health_stored *count, const float *x, const struct gqa_cache *cache,
                          int32_t sequence, const struct gqa__row_at *at)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    const struct gqa__row_form form = gqa__cache_form(cache, at->value);
    const int32_t dim = at->value ? layout->dv : layout->dk;
    float rotated[GQA__HEAD_DIM_MAX];
    struct gqa__row row;

    gqa__cache_get_row(cache, sequence, at, &row);
    if (form.rotated) { /* as gqa__cache_write does it */
        const gqa__fpmode mode = gqa__fpmode_enter();
        memcpy(rotated, x, (size_t)dim * sizeof *rotated);
        if (layout->flush) {
            layout->kernels->flush(rotated, dim);
        }
        gqa__hadamard(rotated, dim, 1);
        gqa__fpmode_leave(mode);
    }
    gqa__stored_row(count, x, form.rotated ? rotated : x, &row, form.dtype, dim);
}

/* The host's formats are floats, which as f32 are what they are, or int8. */
void gqa__stored_in_host(gqa_health_stored *count, const float *x, const struct gqa__kv_view *view,
                         const struct gqa__row_at *at)
{
    const int32_t dim = at->value ? view->dv : view->dk;
    const struct gqa__host_rows *const rows = at->value ? &view->host.v : &view->host.k;
    struct gqa__row row;
    float y[GQA__HEAD_DIM_MAX];

    if (rows->dtype == GQA_I8) {
        gqa__host_codes(&view->host, rows, at->head, at->index, row.element, dim, row.scale);
        gqa__stored_row(count, x, x, &row, GQA_I8, dim);
        return;
    }
    gqa__view_load(view, at->head, at->index, at->value ? NULL : y, at->value ? y : NULL);
    memcpy(row.element, y, (size_t)dim * sizeof *y);
    gqa__stored_row(count, x, x, &row, GQA_F32, dim);
}
