/* SPDX-License-Identifier: Apache-2.0 */
/* built.h - which kernels the flags of this compilation can build: the one place that reads the
 * compiler's macros.
 *
 * Where its GQA__BUILT_ is 0, a kernel set's files are empty and its function gives NULL; what
 * gqa_build_info_get says was built is what these functions give. Clang before 18 spells the macros
 * of AMX without the inner underscore.
 */
#ifndef GQA__KERNEL_CONTRACT_BUILT_H
#define GQA__KERNEL_CONTRACT_BUILT_H

/* gcc for Windows keeps no vector of more than 16 bytes aligned on the stack. */
#if defined(_WIN32) && defined(__GNUC__) && !defined(__clang__) && !defined(GQA_SCALAR_ONLY)
#define GQA_SCALAR_ONLY 1
#endif

/* In one file of everything (tools/amalgamate) there is room for one width of vectors, the widest,
 * and the plain kernels have the flags of all. */
#if defined(GQA__AMALGAMATION)
#define GQA__BUILD_EACH 0
#else
#define GQA__BUILD_EACH 1
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) &&                      \
    defined(__AVX512VL__) && !defined(GQA_SCALAR_ONLY)
#define GQA__BUILT_AVX512 1
#else
#define GQA__BUILT_AVX512 0
#endif

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && !defined(GQA_SCALAR_ONLY) &&     \
    (GQA__BUILD_EACH || !GQA__BUILT_AVX512)
#define GQA__BUILT_AVX2 1
#else
#define GQA__BUILT_AVX2 0
#endif

#if defined(__AVX2__) && defined(__FMA__) && !defined(_WIN32) && GQA__BUILD_EACH
#define GQA__BUILT_SCALAR_FMA 1
#else
#define GQA__BUILT_SCALAR_FMA 0
#endif

#if GQA__BUILT_AVX512 && defined(__AVX512VNNI__) && GQA__BUILD_EACH
#define GQA__BUILT_VNNI 1 /* products of pairs of integers */
#else
#define GQA__BUILT_VNNI 0
#endif

#if GQA__BUILT_AVX512 && defined(__AVX512BF16__)
#define GQA__BUILT_AVX512_BF16 1 /* the conversion instruction */
#else
#define GQA__BUILT_AVX512_BF16 0
#endif

/* Linux alone can be asked for the tiles. */
#if GQA__BUILT_AVX512_BF16 && defined(__linux__) &&                                                \
    (defined(__AMX_TILE__) || defined(__AMXTILE__)) &&                                             \
    (defined(__AMX_BF16__) || defined(__AMXBF16__)) &&                                             \
    (defined(__AMX_INT8__) || defined(__AMXINT8__))
#define GQA__BUILT_AMX 1
#else
#define GQA__BUILT_AMX 0
#endif

#if defined(__ARM_NEON) && defined(__aarch64__) && !defined(GQA_SCALAR_ONLY)
#define GQA__BUILT_NEON 1
#else
#define GQA__BUILT_NEON 0
#endif

#endif
