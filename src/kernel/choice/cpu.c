/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - see cpu.h. Compiled without instruction-set flags. */
#include "kernel/choice/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>

/* Register state that the operating system saves, as xgetbv reports it. */
enum {
    STATE_YMM = 0x6,     /* xmm and ymm */
    STATE_ZMM = 0xe6,    /* with mask registers and both halves of zmm */
    STATE_TILE = 0x60000 /* tile configuration and tile data */
};

struct leaf {
    uint32_t eax, ebx, ecx, edx;
};

/* All zero where the CPU has no such leaf. */
static struct leaf leaf_of(uint32_t number, uint32_t sub)
{
    struct leaf leaf = {0, 0, 0, 0};

    if (!__get_cpuid_count(number, sub, &leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx)) {
        return (struct leaf){0, 0, 0, 0};
    }
    return leaf;
}

static bool bit(uint32_t word, int number)
{
    return (word >> number & 1u) != 0;
}

static uint64_t enabled_states(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

void gqa__cpu_detect(struct gqa__cpu *cpu)
{
    const struct leaf one = leaf_of(1, 0), seven = leaf_of(7, 0), next = leaf_of(7, 1);
    const bool osxsave = bit(one.ecx, 27);
    const uint64_t states = osxsave ? enabled_states() : 0;
    const bool avx = bit(one.ecx, 28) && (states & STATE_YMM) == STATE_YMM;
    const bool zmm = avx && (states & STATE_ZMM) == STATE_ZMM;
    const bool foundation = bit(seven.ebx, 16), bw = bit(seven.ebx, 30);
    const bool dq = bit(seven.ebx, 17), vl = bit(seven.ebx, 31);
    const bool tiles = bit(seven.edx, 24) && (states & STATE_TILE) == STATE_TILE;

    cpu->avx2_fma = avx && bit(seven.ebx, 5) && bit(one.ecx, 12) && bit(one.ecx, 29);
    cpu->avx512 = zmm && cpu->avx2_fma && foundation && bw && dq && vl;
    cpu->avx512_bf16 = cpu->avx512 && bit(next.eax, 5);
    cpu->avx512_vnni = cpu->avx512 && bit(seven.ecx, 11);
    cpu->amx_bf16 = tiles && bit(seven.edx, 22);
    cpu->amx_int8 = tiles && bit(seven.edx, 25);
#ifdef GQA__EMULATED_AMX
    cpu->amx_bf16 = true;
    cpu->amx_int8 = true;
#endif
    cpu->neon = false;
}

#if defined(GQA__EMULATED_AMX) /* a build for tests: tiles in software */

bool gqa__cpu_amx_permission(void)
{
    return true;
}

#elif defined(__linux__)

#include <sys/syscall.h>
#include <unistd.h>

/* The call that asks, and the feature: tile data. */
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILE_DATA = 18 };

/* Declared here because strict C11 hides it. */
extern long syscall(long number, ...);

bool gqa__cpu_amx_permission(void)
{
    return syscall(SYS_arch_prctl, (long)ARCH_REQ_XCOMP_PERM, (long)XFEATURE_TILE_DATA) == 0;
}

#else

bool gqa__cpu_amx_permission(void)
{
    return false;
}

#endif

#else

bool gqa__cpu_amx_permission(void)
{
    return false;
}

void gqa__cpu_detect(struct gqa__cpu *cpu)
{
#if defined(__aarch64__) || defined(_M_ARM64)
    *cpu = (struct gqa__cpu){.neon = true};
#else
    *cpu = (struct gqa__cpu){.neon = false};
#endif
}

#endif
