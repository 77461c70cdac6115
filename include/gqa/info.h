/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/info.h - what this library is and what this machine runs. */
#ifndef GQA_INFO_H
#define GQA_INFO_H

#include "gqa/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gqa_build_info {
    uint32_t struct_size;
    uint32_t version;           /* gqa_version() */
    uint32_t kernels_built;     /* bit (1 << gqa_isa) per kernel set compiled in */
    uint32_t kernels_available; /* of those, what this CPU and operating system run */
    int32_t fold_block;         /* gqa_fold_block() */
    const char *compiler;       /* static */
    const char *blas;      /* static or owned by the BLAS: its version and configuration; "none" */
    const char *blas_core; /* the core that OpenBLAS chose; "" without it */
    int32_t blas_poor;     /* 1: the CPU has AVX2, but that core is one without it (OpenBLAS took an
                              unknown CPU for an old one; OPENBLAS_CORETYPE helps) */
} gqa_build_info;

/* size is the caller's sizeof; fields beyond it are not written. */
GQA_API void gqa_build_info_sized(gqa_build_info *info, size_t size);

static inline void gqa_build_info_get(gqa_build_info *info)
{
    gqa_build_info_sized(info, sizeof *info);
}

/* GQA_VERSION of the library that is linked. */
GQA_API uint32_t gqa_version(void);

/* 1 if the kernel set is compiled in and this machine runs it. AUTO: 1. For AMX this, and
 * gqa_build_info_get, asks Linux for the use of tile data (see gqa_create). */
GQA_API int gqa_isa_available(gqa_isa isa);

/* "auto", "scalar", "avx2", "avx512", "amx" or "neon", "unknown" for other values; static, never
 * NULL. */
GQA_API const char *gqa_isa_name(gqa_isa isa);

#ifdef __cplusplus
}
#endif
#endif
