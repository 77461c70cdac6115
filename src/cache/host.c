/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - see host.h; panels of such keys are in host_panel.c. */
#include "cache/host.h"

#include <string.h>

#include "base/storage.h"
#include "base/tensor.h"
#include "cache/cache.h"

void gqa__host_codes(const struct gqa__host_keys *keys, const struct gqa__host_rows *rows,
                     int32_t head, int32_t index, unsigned char *code, int32_t n, float *scale)
{
    const unsigned char *const at = rows->data + gqa__host_offset(keys, rows, head, index);

    for (int32_t d = 0; d < n; d++) {
        code[d] = at[d * rows->step];
    }
    *scale = rows->scale[gqa__host_scale(keys, rows, head, index)];
}

/* Codes times their scale. */
static void load_codes(const struct gqa__host_keys *keys, const struct gqa__host_rows *rows,
                       int32_t head, int32_t index, float *dst, int32_t n)
{
    unsigned char code[GQA__HEAD_DIM_MAX];
    float scale;

    gqa__host_codes(keys, rows, head, index, code, n, &scale);
    scale = gqa__scale_given(scale);
    for (int32_t d = 0; d < n; d++) {
        dst[d] = gqa__canonical((float)(int8_t)code[d] * scale);
    }
}

void gqa__host_load(const struct gqa__host_keys *keys, const struct gqa__host_rows *rows,
                    int32_t head, int32_t index, float *dst, int32_t n)
{
    const gqa_tensor t = {.data = (void *)(uintptr_t)rows->data, .dtype = rows->dtype};
    const int64_t offset = gqa__host_offset(keys, rows, head, index);

    if (rows->dtype == GQA_I8) {
        load_codes(keys, rows, head, index, dst, n);
        return;
    }
    if (rows->step == 1) {
        gqa__load_f32(dst, &t, offset, n);
        return;
    }
    for (int32_t d = 0; d < n; d++) {
        gqa__load_f32(dst + d, &t, offset + d * rows->step, 1);
    }
}

/* n elements of this size to places step elements apart. */
static void scatter_elements(unsigned char *dst, int64_t step, const unsigned char *src, int32_t n,
                             size_t size)
{
    for (int32_t d = 0; d < n; d++) {
        memcpy(dst + (size_t)(d * step) * size, src + (size_t)d * size, size);
    }
}

/* Where a token goes. */
struct target {
    unsigned char *at; /* its first element; */
    int64_t step;      /* elements from one to the next */
    float *scale;
};

static void store_rounded(const struct gqa__kernels *kernels, const struct target *to,
                          gqa_dtype dtype, const float *src, int32_t n)
{
    float rounded[GQA__HEAD_DIM_MAX];

    if (to->step == 1) {
        kernels->store(to->at, src, n, dtype);
        return;
    }
    kernels->store(rounded, src, n, dtype);
    scatter_elements(to->at, to->step, (const unsigned char *)rounded, n, gqa__dtype_size(dtype));
}

/* As a page of one slot would get it. */
static void store_codes(const struct gqa__kernels *kernels, const struct target *to,
                        const float *src, int32_t n)
{
    unsigned char code[GQA__HEAD_DIM_MAX];

    kernels->append_k(&(struct gqa__append_args){.page = code,
                                                 .stride = n,
                                                 .n = 1,
                                                 .src = src,
                                                 .src_stride = n,
                                                 .dim = n,
                                                 .storage = GQA_I8,
                                                 .scale = to->scale,
                                                 .scale_stride = 1});
    scatter_elements(to->at, to->step, code, n, 1);
}

void gqa__host_store(const struct gqa__kernels *kernels, const struct gqa__host_keys *keys,
                     const struct gqa__host_rows *rows, int32_t head, int32_t first,
                     const struct gqa__host_write *write)
{
    float flushed[GQA__HEAD_DIM_MAX];

    for (int32_t i = 0; i < write->tokens; i++) {
        const float *src = write->src + i * write->step;
        struct target to = {.at = (unsigned char *)(uintptr_t)rows->data, .step = rows->step};
        if (write->slots != NULL && write->slots[i] < 0) {
            continue;
        }
        to.at +=
            (size_t)gqa__host_offset(keys, rows, head, first + i) * gqa__dtype_size(rows->dtype);
        if (write->flush) {
            memcpy(flushed, src, (size_t)write->n * sizeof *src);
            kernels->flush(flushed, write->n);
            src = flushed;
        }
        if (rows->dtype == GQA_I8) {
            to.scale =
                (float *)(uintptr_t)rows->scale + gqa__host_scale(keys, rows, head, first + i);
            store_codes(kernels, &to, src, write->n);
        } else {
            store_rounded(kernels, &to, rows->dtype, src, write->n);
        }
    }
}
