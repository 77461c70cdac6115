/* SPDX-License-Identifier: Apache-2.0 */
/* linear.h - one projection matrix, packed or in place, and its product with activations.
 *
 * Backend cpu packs for its kernel set; backend reference keeps plain f32 rows and uses sgemm
 * (linear/openblas.c, the only file that sees cblas.h), or a plain double loop with f64. In place
 * the matrix is a list of strips of the caller's memory, and the bits are the same.
 */
#ifndef GQA__LINEAR_H
#define GQA__LINEAR_H

#include <stdbool.h>

#include "kernel/contract/kernel.h"
#include "parallel/tasks.h"

/* Rows of a matrix that stay where the caller has them: from row `first` up to the next strip. */
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
    bool f64;            /* reference: accumulate in double */
    bool int8;           /* packed as int8; reference: weight holds q * scale, or with f64 q */
    int32_t strip_count; /* > 0: in place, and there is no weight */
    struct gqa__strip *strips; /* [strip_count] rising; first[0] = 0 */
    void *weight;
    float *scale; /* [out], int8 only, else NULL */
    float *bias;  /* [out] or NULL */
};

/* Bytes of weight (or strips), scale and bias together. false on overflow. */
bool gqa__linear_bytes(const struct gqa__linear *linear, bool with_bias, size_t *bytes);

/* Set weight (or strips), scale and bias (memory from gqa__linear_bytes, zeroed by the caller);
 * then every row once, by the second function with int8, or in place every strip and the bias of
 * every row. src: [in]. */
void gqa__linear_place(struct gqa__linear *linear, void *memory, bool with_bias);
void gqa__linear_set_row(struct gqa__linear *linear, int64_t row, const float *src, float bias);
void gqa__linear_set_int8(struct gqa__linear *linear, int64_t row, const int8_t *src, float scale,
                          float bias);
void gqa__linear_set_bias(struct gqa__linear *linear, int64_t row, float bias);

/* Scratch for packed activations of at most tokens tokens, and in place for each thread's weights
 * on their way; depends on row, in and whether in place only. */
size_t gqa__linear_scratch_bytes(const struct gqa__linear *linear, int32_t tokens,
                                 const gqa_runtime *runtime);

/* y[t][o] = sum_i w[o][i] x[t][i] (* scale[o]) + bias[o] for o in [out_begin, out_end) (multiples
 * of the row's out_step, or out). y points at output out_begin of token 0. Runs in parallel through
 * runtime: cpu cuts tokens and outputs into tasks, which changes no bit; reference calls sgemm
 * once, from the calling thread. */
void gqa__linear_run(const struct gqa__linear *linear, const float *x, int64_t x_stride,
                     int32_t tokens, int64_t out_begin, int64_t out_end, float *y, int64_t y_stride,
                     void *scratch, const gqa_runtime *runtime);

/* The same, with what else happens to the outputs; after->add: [tokens][add_stride], output
 * out_begin first; it does not overlap y. */
void gqa__linear_run_then(const struct gqa__linear *linear, const float *x, int64_t x_stride,
                          int32_t tokens, int64_t out_begin, int64_t out_end, float *y,
                          int64_t y_stride, const struct gqa__epilogue *after, void *scratch,
                          const gqa_runtime *runtime);

/* The same as gqa__linear_run with another matrix of the same row and in (both in place or none),
 * and the x and tokens of the call before, for which scratch still holds the packed activations. */
void gqa__linear_run_again(const struct gqa__linear *linear, const float *x, int64_t x_stride,
                           int32_t tokens, int64_t out_begin, int64_t out_end, float *y,
                           int64_t y_stride, void *scratch, const gqa_runtime *runtime);

/* C [m][n] = A [m][k] B [n][k]^T, row-major: OpenBLAS, or a plain product when built without it. */
void gqa__sgemm_nt(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                   int64_t ldb, float *c, int64_t ldc);
const char *gqa__blas_config(void); /* "none" without OpenBLAS */
/* Does a core of this name leave the vector units of this CPU unused? */
bool gqa__blas_poor(const char *core);
/* If so, one line to the host's log. */
void gqa__blas_warn(const gqa_runtime *runtime, const char *core);
const char *gqa__blas_core(void); /* "" without */

#endif
