/* SPDX-License-Identifier: Apache-2.0 */
/* row.c - see row.h. */
#include "cache/row.h"

#include <string.h>

#include "base/hadamard.h"
#include "base/tensor.h"

struct gqa__plane gqa__cache_plane(const struct gqa_cache *cache, int32_t page, int32_t head,
                                   bool value)
{
    const struct gqa__cache_layout *const layout = &cache->layout;
    struct gqa__plane plane = {.slots = layout->page_size};

    if (value) {
        plane.at = gqa__cache_v(cache, page, head);
        plane.scale = gqa__cache_v_scale(cache, page, head);
        plane.dtype = layout->dtype_v;
        plane.rotated = layout->rotate_v;
        plane.dim = layout->dv;
        plane.scales = layout->v_scales;
        plane.stride = layout->v_stride;
        plane.transposed = layout->v_transposed;
    } else {
        plane.at = gqa__cache_k(cache, page, head);
        plane.scale = gqa__cache_k_scale(cache, page, head);
        plane.dtype = layout->dtype_k;
        plane.rotated = layout->rotate_k;
        plane.dim = layout->dk;
        plane.scales = layout->k_scales;
        plane.stride = layout->k_stride;
    }
    plane.row =
        (size_t)plane.stride * (gqa__scaled(plane.dtype) ? 1 : gqa__dtype_size(plane.dtype));
    return plane;
}

void gqa__row_get(const struct gqa__plane *plane, int32_t slot, struct gqa__row *row)
{
    const size_t at = (size_t)slot;

    if (!plane->transposed) {
        memcpy(row->element, plane->at + at * plane->row,
               gqa__stored_bytes(plane->dtype, plane->dim));
    } else {
        const size_t size = gqa__stored_bytes(plane->dtype, 1);
        for (size_t d = 0; d < (size_t)plane->dim; d++) {
            memcpy(row->element + d * size, plane->at + d * plane->row + at * size, size);
        }
    }
    for (int32_t g = 0; g < plane->scales; g++) {
        row->scale[g] = plane->scale[(int64_t)g * plane->slots + slot];
    }
}

void gqa__row_put(const struct gqa__plane *plane, int32_t slot, const struct gqa__row *row)
{
    const size_t at = (size_t)slot;

    if (!plane->transposed) {
        memcpy(plane->at + at * plane->row, row->element,
               gqa__stored_bytes(plane->dtype, plane->dim));
    } else {
        const size_t size = gqa__stored_bytes(plane->dtype, 1);
        for (size_t d = 0; d < (size_t)plane->dim; d++) {
            memcpy(plane->at + d * plane->row + at * size, row->element + d * size, size);
        }
    }
    for (int32_t g = 0; g < plane->scales; g++) {
        plane->scale[(int64_t)g * plane->slots + slot] = row->scale[g];
    }
}

void gqa__row_values(const struct gqa__row *row, struct gqa__row_form form, int32_t dim, float *dst)
{
    const gqa_dtype dtype = form.dtype;
    const int32_t group = gqa__scale_group(dtype, dim);

    for (int32_t d = 0; d < dim; d++) {
        uint16_t half;
        if (gqa__scaled(dtype)) {
            const float value = gqa__code_value(dtype, row->element, d);
            dst[d] = gqa__canonical(value * row->scale[d / group]);
        } else if (dtype == GQA_F32) {
            memcpy(&dst[d], row->element + (size_t)d * sizeof dst[d], sizeof dst[d]);
        } else {
            memcpy(&half, row->element + (size_t)d * sizeof half, sizeof half);
            dst[d] = dtype == GQA_BF16 ? gqa__bf16_to_f32(half) : gqa__f16_to_f32(half);
        }
    }
    if (form.rotated) {
        gqa__hadamard(dst, dim, 1);
        for (int32_t d = 0; d < dim; d++) {
            dst[d] = gqa__canonical(dst[d]);
        }
    }
}

void gqa__plane_zero(const struct gqa__plane *plane, int32_t slot, int32_t end)
{
    const size_t from = (size_t)slot, freed = (size_t)(end - slot);

    if (plane->transposed) {
        const size_t size = gqa__stored_bytes(plane->dtype, 1);
        for (size_t d = 0; d < (size_t)plane->dim; d++) {
            memset(plane->at + d * plane->row + from * size, 0, freed * size);
        }
    } else {
        memset(plane->at + from * plane->row, 0, freed * plane->row);
    }
    for (size_t g = 0; g < (size_t)plane->scales; g++) {
        memset(plane->scale + g * (size_t)plane->slots + from, 0, freed * sizeof *plane->scale);
    }
}
