/* SPDX-License-Identifier: Apache-2.0 */
/* tensor.h - checks on the caller's tensors, and reading and writing them as f32. */
#ifndef GQA__TENSOR_H
#define GQA__TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/types.h"

/* Element formats a caller's tensor may have. ANY_ADDRESS beside them: data only tells whether the
 * tensor is there, because a size is asked for and no data. ANY_STRIDES: the last dimension need
 * not be contiguous. */
enum {
    GQA__FLOATS = 1,
    GQA__ONLY_F32 = 2,
    GQA__MASKS = 4,
    GQA__INT8 = 8,
    GQA__ANY_ADDRESS = 16,
    GQA__ANY_STRIDES = 32
};

static inline bool gqa__present(const gqa_tensor *t)
{
    return t != NULL && t->data != NULL;
}

/* What a caller's tensor must be. */
struct gqa__form {
    const char *field; /* in errors */
    int formats;       /* GQA__FLOATS (f32, bf16, f16), alone or with GQA__INT8, GQA__ONLY_F32 or
                          GQA__MASKS; with or without GQA__ANY_ADDRESS, GQA__ANY_STRIDES */
    int32_t rank;
    const int64_t *shape; /* [rank]; -1 = any extent >= 0 */
    bool drop_batch;      /* one dimension less will do, with shape[0] == 1 in front */
};

/* Copy *t to *out (which may be t) with explicit strides, checking it against the form. Refused
 * besides: data not aligned to its elements, negative strides, a last dimension that is not
 * contiguous (but with ANY_STRIDES), extents beyond the address space. Errors name the field. data
 * may be absent only if the caller checked it. */
gqa_status gqa__tensor_fit(const gqa_tensor *t, const struct gqa__form *form, gqa_tensor *out,
                           gqa_error *err);

/* Elements from the first to one past the last of a fitted tensor; -1 beyond the address space. */
int64_t gqa__tensor_extent(const gqa_tensor *t);

/* May two fitted tensors (present, extents within the address space) share a byte? */
bool gqa__tensor_overlap(const gqa_tensor *a, const gqa_tensor *b);

/* n consecutive elements at the element offset, as f32. The formats are f32, bf16, f16. */
void gqa__load_f32(float *dst, const gqa_tensor *src, int64_t offset, int64_t n);
/* Rounds to nearest even; NaN is stored as the canonical NaN of the format. */
void gqa__store_f32(const gqa_tensor *dst, int64_t offset, const float *src, int64_t n);
void gqa__store_zero(const gqa_tensor *dst, int64_t offset, int64_t n);

/* Mask element at the element (or bit) offset. */
bool gqa__mask_at(const gqa_tensor *mask, int64_t offset);

/* Bytes per element of a tensor; 0 for GQA_BITS, for types that only caches have, and for bad
 * values. */
size_t gqa__dtype_size(gqa_dtype dtype);

/* Value i of an array of that format; NULL of none. */
static inline void *gqa__values_at(const void *values, int64_t i, gqa_dtype dtype)
{
    return values == NULL ? NULL : (unsigned char *)values + i * (int64_t)gqa__dtype_size(dtype);
}

#endif
