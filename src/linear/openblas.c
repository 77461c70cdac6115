/* SPDX-License-Identifier: Apache-2.0 */
/* openblas.c - the one file that sees cblas.h. Without OpenBLAS: a plain product. */
#include "linear/linear.h"

#include "base/guard.h"

#ifdef GQA_WITH_OPENBLAS

#include <cblas.h>

void gqa__sgemm_nt(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                   int64_t ldb, float *c, int64_t ldc)
{
    if (m <= 0 || n <= 0) {
        return;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, 1.0f,
                a, (blasint)lda, b, (blasint)ldb, 0.0f, c, (blasint)ldc);
}

const char *gqa__blas_config(void)
{
    return openblas_get_config();
}

const char *gqa__blas_core(void)
{
    return openblas_get_corename();
}

#else

#include <math.h>

void gqa__sgemm_nt(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                   int64_t ldb, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            const float *const x = a + i * lda; /* [k] */
            const float *const w = b + j * ldb; /* [k] */
            float sum = 0.0f;
            for (int64_t p = 0; p < k; p++) {
                sum = fmaf(w[p], x[p], sum);
            }
            c[i * ldc + j] = sum;
        }
    }
}

const char *gqa__blas_config(void)
{
    return "none";
}

const char *gqa__blas_core(void)
{
    return "";
}

#endif
