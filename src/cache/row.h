/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - one token's K or V of one head, as a page stores it: taken out, put in, zeroed. */
#ifndef GQA__ROW_H
#define GQA__ROW_H

#include "base/storage.h"
#include "cache/cache.h"

/* K or V of one page and head. */
struct gqa__plane {
    unsigned char *at;
    float *scale; /* [scales][slots] */
    gqa_dtype dtype;
    bool rotated;    /* rows are (base/hadamard.h) */
    int32_t dim;     /* dk or dv */
    int32_t scales;  /* of a row of dim elements */
    int32_t slots;   /* page_size */
    size_t row;      /* bytes from a row to the next */
    bool transposed; /* [dim][slots], a token is a column; else [slots][dim] */
    int64_t stride;  /* as the layout's */
};

struct gqa__plane gqa__cache_plane(const struct gqa_cache *cache, int32_t page, int32_t head,
                                   bool value);

/* A row by itself: its dim elements or codes one after the other (int4: whole groups), and its
 * scales. */
struct gqa__row {
    unsigned char element[GQA__HEAD_DIM_MAX * sizeof(float)];
    float scale[GQA__ROW_SCALES];
};

void gqa__row_get(const struct gqa__plane *plane, int32_t slot, struct gqa__row *row);
void gqa__row_put(const struct gqa__plane *plane, int32_t slot, const struct gqa__row *row);

/* What the elements of a row stand for. */
struct gqa__row_form {
    gqa_dtype dtype;
    bool rotated;
};

/* The same of a token of a sequence. A row that is set may be of another form than the page's: then
 * its values are appended as f32; else codes and scales stay as they are. */
struct gqa__row_at {
    int32_t head, index;
    bool value; /* V, else K */
};
void gqa__cache_get_row(const struct gqa_cache *cache, int32_t sequence,
                        const struct gqa__row_at *at, struct gqa__row *row);
void gqa__cache_set_row(struct gqa_cache *cache, int32_t sequence, const struct gqa__row_at *at,
                        const struct gqa__row *row, struct gqa__row_form form);

/* As f32: a code's value times its scale, rounded once, and rotated back. dst [dim] */
void gqa__row_values(const struct gqa__row *row, struct gqa__row_form form, int32_t dim,
                     float *dst);

/* K's or V's form in the pages of a cache. */
static inline struct gqa__row_form gqa__cache_form(const struct gqa_cache *cache, bool value)
{
    const struct gqa__cache_layout *const layout = &cache->layout;

    return value ? (struct gqa__row_form){layout->dtype_v, layout->rotate_v}
                 : (struct gqa__row_form){layout->dtype_k, layout->rotate_k};
}

static inline bool gqa__same_form(struct gqa__row_form a, struct gqa__row_form b)
{
    return a.dtype == b.dtype && a.rotated == b.rotated;
}

/* Slots [slot, end) become zero. */
void gqa__plane_zero(const struct gqa__plane *plane, int32_t slot, int32_t end);

#endif
