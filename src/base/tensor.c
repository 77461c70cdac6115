/* SPDX-License-Identifier: Apache-2.0 */
/* tensor.c - see tensor.h. */
#include "base/tensor.h"

#include <string.h>

#include "base/error.h"
#include "base/number.h"

size_t gqa__dtype_size(gqa_dtype dtype)
{
    switch (dtype) {
    case GQA_F32:
        return 4;
    case GQA_BF16:
    case GQA_F16:
        return 2;
    case GQA_U8:
    case GQA_I8:
        return 1;
    case GQA_BITS:
    case GQA_E4M3:
    case GQA_E4M3_240:
    case GQA_I4: /* no tensor has these three */
    default:
        return 0;
    }
}

static bool format_allowed(gqa_dtype dtype, int formats)
{
    switch (dtype) {
    case GQA_F32:
        return (formats & (GQA__FLOATS | GQA__ONLY_F32)) != 0;
    case GQA_BF16:
    case GQA_F16:
        return (formats & GQA__FLOATS) != 0;
    case GQA_U8:
    case GQA_BITS:
        return (formats & GQA__MASKS) != 0;
    case GQA_I8:
        return (formats & GQA__INT8) != 0;
    case GQA_E4M3:
    case GQA_E4M3_240:
    case GQA_I4:
    default:
        return false;
    }
}

static gqa_status check_format(const gqa_tensor *t, const char *field, int formats, gqa_error *err)
{
    const size_t size = gqa__dtype_size(t->dtype);

    if (!format_allowed(t->dtype, formats)) {
        return gqa__fail(err, GQA_ERR_ARG, field, "dtype is %d; allowed: %s%s%s%s", (int)t->dtype,
                         (formats & GQA__FLOATS) ? "GQA_F32, GQA_BF16, GQA_F16" : "",
                         (formats & GQA__INT8) ? ", GQA_I8" : "",
                         (formats & GQA__ONLY_F32) ? "GQA_F32" : "",
                         (formats & GQA__MASKS) ? "GQA_U8, GQA_BITS" : "");
    }
    if ((formats & GQA__ANY_ADDRESS) == 0 && size > 1 && (uintptr_t)t->data % size != 0) {
        return gqa__fail(err, GQA_ERR_ARG, field,
                         "data is at address %llx; it must be a multiple of the %d bytes of an "
                         "element",
                         (unsigned long long)(uintptr_t)t->data, (int)size);
    }
    return GQA_OK;
}

/* Put t's dimensions into out, which gets the wanted rank: one more in front if a batch of one was
 * dropped. */
static gqa_status match_rank(const gqa_tensor *t, const struct gqa__form *form, gqa_tensor *out,
                             gqa_error *err)
{
    const char *const field = form->field;
    const int32_t rank = form->rank;
    const int64_t batch = form->shape[0];
    const bool drop_batch = form->drop_batch;
    int32_t front;

    if (t->rank == rank) {
        front = 0;
    } else if (drop_batch && t->rank == rank - 1 && (batch == 1 || batch == -1)) {
        front = 1;
    } else if (drop_batch && t->rank == rank - 1) {
        return gqa__fail(err, GQA_ERR_SHAPE, field,
                         "rank is %d; the batch dimension may be left out only for a batch of 1, "
                         "this one is %lld",
                         (int)t->rank, (long long)batch);
    } else {
        return gqa__fail(err, GQA_ERR_SHAPE, field, "rank is %d; it must be %d%s", (int)t->rank,
                         (int)rank, drop_batch ? " (or one less for a batch of 1)" : "");
    }
    out->data = t->data;
    out->dtype = t->dtype;
    out->rank = rank;
    for (int32_t i = 0; i < 4; i++) {
        out->shape[i] = 1;
        out->stride[i] = 0;
    }
    for (int32_t i = 0; i < t->rank; i++) {
        out->shape[front + i] = t->shape[i];
        out->stride[front + i] = t->stride[i];
    }
    return GQA_OK;
}

static gqa_status check_shape(const gqa_tensor *t, const char *field, const int64_t *shape,
                              gqa_error *err)
{
    for (int32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || (shape[i] != -1 && t->shape[i] != shape[i])) {
            return gqa__fail(err, GQA_ERR_SHAPE, field,
                             shape[i] == -1 ? "shape[%d] of %d is %lld; it must not be negative"
                                            : "shape[%d] of %d is %lld; it must be %lld",
                             (int)i, (int)t->rank, (long long)t->shape[i], (long long)shape[i]);
        }
    }
    return GQA_OK;
}

/* Is a * b at most 2^60 - 1, for a and b that are not negative? Small ones need no division. */
static bool product_fits(int64_t a, int64_t b)
{
    return (a | b) >> 30 == 0 || b == 0 || a <= INT64_MAX / 8 / b;
}

int64_t gqa__tensor_extent(const gqa_tensor *t)
{
    int64_t last = 0;

    for (int32_t i = 0; i < t->rank; i++) {
        const int64_t steps = t->shape[i] - 1;
        if (t->shape[i] == 0) {
            return 0;
        }
        if (!product_fits(t->stride[i], steps)) {
            return -1;
        }
        if (steps * t->stride[i] > INT64_MAX / 8 - 1 - last) {
            return -1;
        }
        last += steps * t->stride[i];
    }
    return last + 1;
}

bool gqa__tensor_overlap(const gqa_tensor *a, const gqa_tensor *b)
{
    const uintptr_t a_begin = (uintptr_t)a->data;
    const uintptr_t b_begin = (uintptr_t)b->data;
    const uintptr_t a_bytes = (uintptr_t)gqa__tensor_extent(a) * gqa__dtype_size(a->dtype);
    const uintptr_t b_bytes = (uintptr_t)gqa__tensor_extent(b) * gqa__dtype_size(b->dtype);

    return a_begin < b_begin + b_bytes && b_begin < a_begin + a_bytes;
}

/* Packed, row-major; rows of bits begin at a byte. */
static bool pack_strides(gqa_tensor *t)
{
    int64_t step = 1;

    for (int32_t i = t->rank - 1; i >= 0; i--) {
        const int64_t n = t->shape[i] > 0 ? t->shape[i] : 1;
        t->stride[i] = step;
        if (n > INT64_MAX / 8 || !product_fits(n + 8, step)) {
            return false;
        }
        step *= n;
        if (t->dtype == GQA_BITS && i == t->rank - 1) {
            step = (step + 7) / 8 * 8;
        }
    }
    return true;
}

static gqa_status check_strides(gqa_tensor *t, const struct gqa__form *form, gqa_error *err)
{
    const char *const field = form->field;
    bool packed = true;

    for (int32_t i = 0; i < t->rank; i++) {
        packed = packed && t->stride[i] == 0;
    }
    if (packed && pack_strides(t)) {
        return GQA_OK;
    }
    if (packed) {
        return gqa__fail(err, GQA_ERR_SHAPE, field, "its extents exceed the address space");
    }
    for (int32_t i = 0; i < t->rank; i++) {
        const long long stride = t->stride[i];
        if (stride < 0) {
            return gqa__fail(err, GQA_ERR_SHAPE, field,
                             "stride[%d] of %d is %lld; it must not be negative", (int)i,
                             (int)t->rank, stride);
        }
        if (i == t->rank - 1 && stride != 1 && t->shape[i] > 1 &&
            (form->formats & GQA__ANY_STRIDES) == 0) {
            return gqa__fail(err, GQA_ERR_SHAPE, field,
                             "stride[%d] of %d is %lld; the last dimension's must be 1", (int)i,
                             (int)t->rank, stride);
        }
        if (i < t->rank - 1 && t->dtype == GQA_BITS && t->shape[i] > 1 && stride % 8 != 0) {
            return gqa__fail(err, GQA_ERR_SHAPE, field,
                             "stride[%d] of %d is %lld bits; it must be a multiple of 8", (int)i,
                             (int)t->rank, stride);
        }
    }
    if (gqa__tensor_extent(t) < 0) {
        return gqa__fail(err, GQA_ERR_SHAPE, field, "its extents exceed the address space");
    }
    return GQA_OK;
}

gqa_status gqa__tensor_fit(const gqa_tensor *t, const struct gqa__form *form, gqa_tensor *out,
                           gqa_error *err)
{
    gqa_tensor own;
    gqa_status status = check_format(t, form->field, form->formats, err);

    if (status == GQA_OK) {
        status = match_rank(t, form, &own, err);
    }
    if (status == GQA_OK) {
        status = check_shape(&own, form->field, form->shape, err);
    }
    if (status == GQA_OK) {
        status = check_strides(&own, form, err);
    }
    if (status == GQA_OK) {
        *out = own;
    }
    return status;
}

void gqa__load_f32(float *dst, const gqa_tensor *src, int64_t offset, int64_t n)
{
    if (src->dtype == GQA_F32) {
        if (n > 0) {
            memcpy(dst, (const float *)src->data + offset, (size_t)n * sizeof *dst);
        }
    } else if (src->dtype == GQA_BF16) {
        const uint16_t *from = (const uint16_t *)src->data + offset;
        for (int64_t i = 0; i < n; i++) {
            dst[i] = gqa__bf16_to_f32(from[i]);
        }
    } else {
        const uint16_t *from = (const uint16_t *)src->data + offset;
        for (int64_t i = 0; i < n; i++) {
            dst[i] = gqa__f16_to_f32(from[i]);
        }
    }
}

void gqa__store_f32(const gqa_tensor *dst, int64_t offset, const float *src, int64_t n)
{
    if (dst->dtype == GQA_F32) {
        float *to = (float *)dst->data + offset;
        for (int64_t i = 0; i < n; i++) {
            to[i] = gqa__canonical(src[i]);
        }
    } else if (dst->dtype == GQA_BF16) {
        uint16_t *to = (uint16_t *)dst->data + offset;
        for (int64_t i = 0; i < n; i++) {
            to[i] = gqa__f32_to_bf16(src[i]);
        }
    } else {
        uint16_t *to = (uint16_t *)dst->data + offset;
        for (int64_t i = 0; i < n; i++) {
            to[i] = gqa__f32_to_f16(src[i]);
        }
    }
}

void gqa__store_zero(const gqa_tensor *dst, int64_t offset, int64_t n)
{
    const size_t size = gqa__dtype_size(dst->dtype);

    if (n > 0) {
        memset((unsigned char *)dst->data + (size_t)offset * size, 0, (size_t)n * size);
    }
}

bool gqa__mask_at(const gqa_tensor *mask, int64_t offset)
{
    const uint8_t *bytes = mask->data;

    if (mask->dtype == GQA_BITS) {
        return ((bytes[offset / 8] >> (offset % 8)) & 1) != 0;
    }
    return bytes[offset] != 0;
}
