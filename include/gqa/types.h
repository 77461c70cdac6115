/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/types.h - status, error, number formats and tensor views. */
#ifndef GQA_TYPES_H
#define GQA_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "gqa/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every fallible function returns one of these. */
typedef enum gqa_status {
    GQA_OK = 0,
    GQA_ERR_ARG = -1,         /* null pointer, bad value, bad enum */
    GQA_ERR_SHAPE = -2,       /* a tensor does not fit the config or the call */
    GQA_ERR_UNSUPPORTED = -3, /* a sound request that this build, CPU or library does not serve */
    GQA_ERR_NOMEM = -4,       /* the allocator returned NULL */
    GQA_ERR_WORKSPACE = -5,   /* workspace smaller than gqa_workspace_size said */
    GQA_ERR_CACHE_FULL = -6,  /* no page left, or a sequence at its max_tokens */
    GQA_ERR_COMM = -7         /* reserved for collectives between ranks; no function of this release
                                 returns it */
} gqa_status;

/* Filled on failure, untouched on success. Every function accepts NULL for it. */
typedef struct gqa_error {
    gqa_status status;
    const char *field; /* static string, for example "config.num_key_value_heads" */
    char message[192]; /* names the field, its value and the limit; always terminated */
} gqa_error;

/* Number formats. GQA_U8 and GQA_BITS are for masks only: one byte, or one bit (bit c % 8 of byte
 * c / 8, least significant first), per element; 1 = may attend. GQA_I8 is for weight matrices
 * (config.weight_storage): int8_t, to be multiplied by the scale of its row; and, as the last
 * three, for what a cache stores (gqa_cache_options.dtype_k): 8 bits of floating point with sign,
 * exponent (4) and fraction (3), of sizes up to 448 or up to 240; two's complement in 4 bits. */
typedef enum gqa_dtype {
    GQA_F32 = 0,
    GQA_BF16 = 1,
    GQA_F16 = 2,
    GQA_U8 = 3,
    GQA_BITS = 4,
    GQA_I8 = 5,
    GQA_E4M3 = 6,
    GQA_E4M3_240 = 7,
    GQA_I4 = 8
} gqa_dtype;

/* Instruction sets: those of x86-64 in rising order, then AArch64's. AUTO: the best kernel set that
 * was built and that this CPU, its operating system, the numerics and config.max_isa admit. */
typedef enum gqa_isa {
    GQA_ISA_AUTO = 0,
    GQA_ISA_SCALAR = 1,
    GQA_ISA_AVX2 = 2,
    GQA_ISA_AVX512 = 3,
    GQA_ISA_AMX = 4,
    GQA_ISA_NEON = 5
} gqa_isa;

/* Who computes. AUTO = CPU. REFERENCE materialises the scores; NEURON computes the layer as AWS
 * Neuron does, rounding by rounding (gqa/neuron.h). Both are chosen only by name. */
typedef enum gqa_backend {
    GQA_BACKEND_AUTO = 0,
    GQA_BACKEND_CPU = 1,
    GQA_BACKEND_REFERENCE = 2,
    GQA_BACKEND_NEURON = 3
} gqa_backend;

/* F32: f32 operands. BF16: operands of every product (weights, activations, Q, K, P, V) are
 * rounded to bf16, sums are f32 (docs/numerics.md). */
typedef enum gqa_numerics { GQA_NUMERICS_F32 = 0, GQA_NUMERICS_BF16 = 1 } gqa_numerics;

/* A borrowed strided view; data == NULL means absent. The library never writes through a tensor
 * that is an input. shape[i] and stride[i] for i >= rank are ignored. Strides count elements; the
 * last dimension must be contiguous (stride 1); strides that are all 0 mean packed, row-major.
 * GQA_BITS: strides count bits, and all but the last must be multiples of 8; packed rows begin at a
 * byte. Data must be aligned to its elements. */
typedef struct gqa_tensor {
    void *data;
    gqa_dtype dtype;
    int32_t rank; /* 1..4 */
    int64_t shape[4];
    int64_t stride[4];
} gqa_tensor;

/* Packed row-major views of 1 to 4 dimensions. Where a product of them passes int64_t the strides
 * are anything: no function takes such a shape. */
static inline gqa_tensor gqa_tensor_4d(const void *data, gqa_dtype dtype, int64_t a, int64_t b,
                                       int64_t c, int64_t d)
{
    gqa_tensor t;
    t.data = (void *)(uintptr_t)data;
    t.dtype = dtype;
    t.rank = 4;
    t.shape[0] = a;
    t.shape[1] = b;
    t.shape[2] = c;
    t.shape[3] = d;
    t.stride[3] = 1;
    t.stride[2] = d;
    t.stride[1] = (int64_t)((uint64_t)c * (uint64_t)d);
    t.stride[0] = (int64_t)((uint64_t)b * (uint64_t)t.stride[1]);
    return t;
}

static inline gqa_tensor gqa_tensor_3d(const void *data, gqa_dtype dtype, int64_t a, int64_t b,
                                       int64_t c)
{
    gqa_tensor t = gqa_tensor_4d(data, dtype, a, b, c, 1);
    t.rank = 3;
    return t;
}

static inline gqa_tensor gqa_tensor_2d(const void *data, gqa_dtype dtype, int64_t a, int64_t b)
{
    gqa_tensor t = gqa_tensor_4d(data, dtype, a, b, 1, 1);
    t.rank = 2;
    return t;
}

static inline gqa_tensor gqa_tensor_1d(const void *data, gqa_dtype dtype, int64_t a)
{
    gqa_tensor t = gqa_tensor_4d(data, dtype, a, 1, 1, 1);
    t.rank = 1;
    return t;
}

/* Text of a status; static, never NULL. */
GQA_API const char *gqa_status_string(gqa_status status);

/* Copy src to dst of the same shape, converting between GQA_F32, GQA_BF16 and GQA_F16 (round to
 * nearest even; NaN becomes the canonical quiet NaN). GQA_ERR_ARG for other formats or
 * overlapping data, GQA_ERR_SHAPE for other shapes. Thread-safe. */
GQA_API gqa_status gqa_convert(const gqa_tensor *src, const gqa_tensor *dst, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
