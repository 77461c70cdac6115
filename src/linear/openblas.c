/* openblas.c - the one file that sees cblas.h. Without OpenBLAS: a plain product. */
#include "linear/linear.h"

#include "base/guard.h"

#ifdef GQA_WITH_OPENBLAS

#include <cblas.h>

void gqa__sgemm_nt(const struct gqa__gemm *gemm)
{
    if (gemm->m <= 0 || gemm->n <= 0) {
        return;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)gemm->m, (blasint)gemm->n,
                (blasint)gemm->k, 1.0f, gemm->a, (blasint)gemm->lda, gemm->b, (blasint)gemm->ldb,
                0.0f, gemm->c, (blasint)gemm->ldc);
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

void gqa__sgemm_nt(const struct gqa__gemm *gemm)
{
    for (int64_t i = 0; i < gemm->m; i++) {
        for (int64_t j = 0; j < gemm->n; j++) {
            const float *const x = gemm->a + i * gemm->lda; /* [k] */
            const float *const w = gemm->b + j * gemm->ldb; /* [k] */
            float sum = 0.0f;
            for (int64_t p = 0; p < gemm->k; p++) {
                sum = fmaf(w[p], x[p], sum);
            }
            gemm->c[i * gemm->ldc + j] = sum;
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
