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

/* GQA_API_VERSION of the library that is linked. Not the one that the caller was compiled with: the
 * caller has to be compiled again, and perhaps to be changed. */
GQA_API uint32_t gqa_api_version(void);

/* What a CPU and its operating system offer to programs, as bits. */
typedef enum gqa_cpu_feature {
    GQA_CPU_AVX2 = 1,        /* AVX2, FMA and F16C, and the state of ymm is saved */
    GQA_CPU_AVX512 = 2,      /* AVX2 as above, AVX-512 F, BW, DQ and VL, and the state of zmm */
    GQA_CPU_AVX512_BF16 = 4, /* AVX-512 as above, and its bf16 */
    GQA_CPU_AMX_BF16 = 8, /* AMX tiles and their bf16 products, and the state of tiles is enabled.
                             Whether this process may use them is not asked */
    GQA_CPU_NEON = 16     /* AArch64's vectors */
} gqa_cpu_feature;

/* The bits of gqa_cpu_feature that this machine has, whatever kernel sets are built: a host that
 * carries kernels of its own chooses by it too. Changes nothing, asks for no permission, and gives
 * the same answer at any time. */
GQA_API uint32_t gqa_cpu_features(void);

/* 1 if the kernel set is compiled in and this machine runs it. AUTO: 1. For AMX this, and
 * gqa_build_info_get, asks Linux for the use of tile data (see gqa_create). */
GQA_API int gqa_isa_available(gqa_isa isa);

/* "auto", "scalar", "avx2", "avx512", "amx" or "neon", "unknown" for other values; static, never
 * NULL. */
GQA_API const char *gqa_isa_name(gqa_isa isa);

/* The kernel set that the environment variable GQA_ISA names: "scalar", "avx2", "avx512", "amx" or
 * "neon"; GQA_ISA_AUTO where it is "auto", empty or not set. For hosts whose users may choose so:
 *
 *     gqa_config_init(&config);
 *     if (gqa_isa_from_environment(&config.isa, &err) != GQA_OK) ...
 *
 * Any other name is GQA_ERR_ARG, field "GQA_ISA", and *isa is left as it was. Whether the set is
 * available is for gqa_create to say. This is the only function of the library that reads the
 * environment; no other thread may change that meanwhile. */
GQA_API gqa_status gqa_isa_from_environment(gqa_isa *isa, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
