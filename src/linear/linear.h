/* SPDX-License-Identifier: Apache-2.0 */
/* linear.h - one projection matrix, packed or in place, and its product with activations.
 *
 * Backend cpu packs for its kernel set; backend reference keeps plain f32 rows and uses sgemm
 * (linear/openblas.c, the only file that sees cblas.h), or a plain double loop with f64. In place
 * the matrix is a list of strips of the caller's memory, and the bits are the same. Backend neuron
 * keeps turned weights in its I/O type, and multiplies by itself (neuron/stage_product.c).
 */
#ifndef GQA__LINEAR_H
#define GQA__LINEAR_H

#include <stdbool.h>

#include "kernel/contract/kernel.h"
#include "parallel/tasks.h"

/* Outputs of a block of turned weights. */
#define GQA__TURNED_OUTS 32

/* A strip: rows of a matrix that stay where the caller has them, from row `first` up to the next
 * strip. */
struct gqa__strip {
    const void *data; /* [rows][stride] */
    int64_t stride;   /* elements */
    int64_t first;
    gqa_dtype dtype; /* F32, BF16 or F16; with int8: I8; reference: F32 */
};

struct gqa__linear {
    const struct gqa__kernels *kernels;
    int64_t out, in;
    bool plain;          /* reference: weight is float [out][in] */
    bool turned;         /* neuron: weight is [blocks of outputs][in][GQA__TURNED_OUTS] of dtype, 0
                            beyond the last output; weight and bias are rounded to dtype */
    gqa_dtype dtype;     /* turned: F32 or BF16 */
    bool f64;            /* reference: accumulate in double */
    bool flush;          /* cpu: denormal weights (but int8) and activations count as zero */
    bool int8;           /* packed as int8; reference: weight holds q * scale, or with f64 q */
    int32_t strip_count; /* > 0: in place, and there is no weight */
    struct gqa__strip *strips; /* [strip_count] rising; first[0] = 0 */
    void *weight;
    float *scale; /* [out], int8 only, else NULL */
    float *bias;  /* [out] or NULL */
};

/* Bytes of weight (or strips), scale and bias together. false on overflow. */
bool gqa__linear_bytes(const struct gqa__linear *linear, bool with_bias, size_t *bytes);

/* Points weight (or strips), scale and bias into memory (of gqa__linear_bytes, zeroed by the
 * caller). Then every row is set once: by set_row, or with int8 by set_int8. In place the caller
 * sets every strip instead, and the bias of every row. src: [in]. */
void gqa__linear_place(struct gqa__linear *linear, void *memory, bool with_bias);
void gqa__linear_set_row(struct gqa__linear *linear, int64_t row, const float *src, float bias);
void gqa__linear_set_int8(struct gqa__linear *linear, int64_t row, const int8_t *src, float scale,
                          float bias);
void gqa__linear_set_bias(struct gqa__linear *linear, int64_t row, float bias);

/* Scratch for packed activations of at most tokens tokens and, for each thread, for the kernel and,
 * in place, the weights that it gathers; it depends on nothing but the kernel set, in, the
 * threads and whether in place. */
size_t gqa__linear_scratch_bytes(const struct gqa__linear *linear, int32_t tokens,
                                 const gqa_runtime *runtime);

/* One product, and what else happens to its outputs. */
struct gqa__product {
    const struct gqa__linear *linear;
    const float *x; /* [tokens][x_stride] */
    int64_t x_stride;
    int32_t tokens;
    bool x_packed; /* scratch still holds x, packed by a product with a matrix of the same
                      kernels and `in`, both in place or none */
    int64_t out_begin, out_end; /* multiples of the kernels' out_step, or out */
    float *y;                   /* [tokens][y_stride], output out_begin first */
    int64_t y_stride;
    struct gqa__epilogue
        after;     /* add: [tokens][add_stride], output out_begin first; apart from y */
    void *scratch; /* gqa__linear_scratch_bytes */
    /* Set while it runs. */
    unsigned char *packed; /* [packets][packet_bytes], then one slice per thread */
    size_t packet_bytes;
    int64_t packets;
    int64_t out_task; /* outputs per task */
};

/* y[t][o] = sum_i w[o][i] x[t][i] (* scale[o]) + bias[o] for o in [out_begin, out_end); not of
 * turned weights. Runs in parallel through runtime: cpu cuts tokens and outputs into tasks, which
 * changes no bit; reference calls sgemm once, from the calling thread. */
void gqa__linear_run(const struct gqa__product *product, const gqa_runtime *runtime);

/* C [m][n] = A [m][k] B [n][k]^T, row-major: OpenBLAS, or a plain product when built without it. */
struct gqa__gemm {
    int64_t m, n, k;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc; /* from one row to the next */
};
void gqa__sgemm_nt(const struct gqa__gemm *gemm);
const char *gqa__blas_config(void); /* "none" without OpenBLAS */
/* Does a core of this name leave the vector units of this CPU unused? */
bool gqa__blas_poor(const char *core);
/* If so, one line to the host's log, a warning. */
void gqa__blas_warn(const gqa_runtime *runtime, const char *core);
const char *gqa__blas_core(void); /* "" without */

#endif
