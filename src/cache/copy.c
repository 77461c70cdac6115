/* SPDX-License-Identifier: Apache-2.0 */
/* copy.c - a sequence of one cache also in another one. */
#include <assert.h>

#include "base/memory.h"
#include "cache/pages.h"
#include "cache/ring.h"
#include "cache/row.h"

/* May pages of b stand in a as they are? Their heads and dims are the same. The numerics decide
 * which values of V are special; b may hold denormals that a stores as zero. */
static bool pages_alike(const struct gqa__cache_layout *a, const struct gqa__cache_layout *b)
{
    return (b->flush || !a->flush) && a->page_size == b->page_size && a->dtype_k == b->dtype_k &&
           a->dtype_v == b->dtype_v && a->rotate_k == b->rotate_k && a->rotate_v == b->rotate_v &&
           a->k_stride == b->k_stride && a->v_stride == b->v_stride && a->k_bytes == b->k_bytes &&
           a->v_bytes == b->v_bytes && a->v_transposed == b->v_transposed &&
           a->kernels->numerics == b->kernels->numerics;
}

static void copy_pages(struct gqa_cache *to, int32_t to_sequence, const struct gqa_cache *from,
                       int32_t from_sequence)
{
    const struct gqa__sequence *const source = &from->sequences[from_sequence];
    struct gqa__sequence *const sequence = &to->sequences[to_sequence];
    const int32_t page_size = to->layout.page_size;
    int32_t *const pages = sequence->pages;

    *sequence = *source;
    sequence->pages = pages;
    int32_t used;
    const int32_t begin = gqa__ring_first_page(to, source->first);
    for (int32_t done = begin * page_size; done < source->length; done += used) {
        const int32_t i = done / page_size;
        used = (int32_t)gqa__min(source->length - done, page_size);
        pages[i] = source->pages[i] >= 0
                       ? gqa__page_import(to, from, source->pages[i], used)
                       : gqa__page_take(to); /* a panel of `to` begins before it */
    }
}

/* Positions and columns of all tokens, a few at a time. */
static void copy_lists(struct gqa_cache *to, int32_t to_sequence, const struct gqa_cache *from,
                       int32_t from_sequence)
{
    const struct gqa__sequence *const source = &from->sequences[from_sequence];
    int32_t positions[64], columns[64];
    int32_t n;
    for (int32_t done = source->first; done < source->length; done += n) {
        n = (int32_t)gqa__min(source->length - done, 64);
        for (int32_t i = 0; i < n; i++) {
            const int64_t slot = gqa__cache_slot(from, source, done + i);
            positions[i] = from->positions[slot];
            columns[i] = from->columns[slot];
        }
        gqa__cache_extend(to, to_sequence, n, positions, columns, columns[n - 1] + 1);
    }
    gqa__cache_extend(to, to_sequence, 0, NULL, NULL, source->columns);
}

/* The tokens [first, first + n), head by head. */
static void copy_tokens(struct gqa_cache *to, int32_t to_sequence, const struct gqa_cache *from,
                        int32_t from_sequence, int32_t first, int32_t n)
{
    struct gqa__row row;

    for (int32_t head = 0; head < to->layout.hkv; head++) {
        for (int32_t i = first; i < first + n; i++) {
            const struct gqa__row_at k = {head, i, false}, v = {head, i, true};
            gqa__cache_get_row(from, from_sequence, &k, &row);
            gqa__cache_set_row(to, to_sequence, &k, &row, gqa__cache_form(from, false));
            gqa__cache_get_row(from, from_sequence, &v, &row);
            gqa__cache_set_row(to, to_sequence, &v, &row, gqa__cache_form(from, true));
        }
    }
}

void gqa__cache_copy(struct gqa_cache *to, int32_t to_sequence, const struct gqa_cache *from,
                     int32_t from_sequence)
{
    const struct gqa__sequence *const source = &from->sequences[from_sequence];
    const int32_t length = source->length;
    int32_t n;
    assert(to->sequences[to_sequence].length == 0);

    if (pages_alike(&to->layout, &from->layout)) {
        copy_pages(to, to_sequence, from, from_sequence);
        return;
    }
    gqa__ring_begin(to, to_sequence,
                    &(struct gqa__ring_past){source->first, source->origin, source->released});
    copy_lists(to, to_sequence, from, from_sequence);
    for (int32_t done = source->first; done < length; done += n) {
        n = (int32_t)gqa__min(length - done, to->layout.page_size);
        copy_tokens(to, to_sequence, from, from_sequence, done, n);
    }
}
