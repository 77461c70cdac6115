/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h - what the CPU has and the operating system enables, by raw cpuid and xgetbv. */
#ifndef GQA__KERNEL_CHOICE_CPU_H
#define GQA__KERNEL_CHOICE_CPU_H

#include <stdbool.h>

struct gqa__cpu {
    bool avx2_fma; /* AVX2, FMA3, F16C and ymm state */
    bool avx512;   /* F, BW, DQ, VL and zmm state */
    bool avx512_bf16;
    bool avx512_vnni;
    bool amx_bf16; /* tile, bf16, tile state; permission is asked for elsewhere */
    bool amx_int8; /* the same with int8 */
    bool neon;     /* every AArch64 CPU */
};

void gqa__cpu_detect(struct gqa__cpu *cpu);

/* Ask the operating system for the use of AMX tile data (Linux 5.16 and later: arch_prctl,
 * ARCH_REQ_XCOMP_PERM, feature 18). The permission is the whole process's, is inherited by children
 * and is refused where an alternate signal stack is too small for the tiles. True if granted, now
 * or before. */
bool gqa__cpu_amx_permission(void);

#endif
