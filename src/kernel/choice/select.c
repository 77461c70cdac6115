/* SPDX-License-Identifier: Apache-2.0 */
/* select.c - see select.h. Compiled without instruction-set flags. */
#include "kernel/choice/select.h"

#include <string.h>

#include "base/error.h"
#include "config/config.h"
#include "kernel/amx/amx.h"
#include "kernel/avx2/avx2.h"
#include "kernel/avx512/avx512.h"
#include "kernel/choice/cpu.h"
#include "kernel/neon/neon.h"
#include "kernel/scalar/scalar.h"
#include "kernel/vnni/vnni.h"

/* One ISA: its name, its tables and what it needs. */
struct candidate {
    gqa_isa isa;
    const char *name;
    bool (*runs)(const struct gqa__cpu *cpu);
    const struct gqa__kernels *(*table)(const struct gqa__cpu *cpu, gqa_numerics numerics);
    const char *needs; /* what a CPU without it lacks */
};

static bool runs_anywhere(const struct gqa__cpu *cpu)
{
    (void)cpu;
    return true;
}

static bool runs_avx2(const struct gqa__cpu *cpu)
{
    return cpu->avx2_fma;
}

static const struct gqa__kernels *avx2_table(const struct gqa__cpu *cpu, gqa_numerics numerics)
{
    (void)cpu;
    return gqa__avx2(numerics);
}

static bool runs_avx512(const struct gqa__cpu *cpu)
{
    return cpu->avx512;
}

static const struct gqa__kernels *avx512_table(const struct gqa__cpu *cpu, gqa_numerics numerics)
{
    (void)cpu;
    return gqa__avx512(numerics);
}

static bool runs_amx(const struct gqa__cpu *cpu)
{
    return cpu->avx512_bf16 && cpu->avx512_vnni && cpu->amx_bf16 && cpu->amx_int8 &&
           gqa__cpu_amx_permission();
}

static const struct gqa__kernels *amx_table(const struct gqa__cpu *cpu, gqa_numerics numerics)
{
    (void)cpu;
    return gqa__amx(numerics);
}

static bool runs_neon(const struct gqa__cpu *cpu)
{
    return cpu->neon;
}

static const struct gqa__kernels *neon_table(const struct gqa__cpu *cpu, gqa_numerics numerics)
{
    (void)cpu;
    return gqa__neon(numerics);
}

/* The same bits from either compilation. */
static const struct gqa__kernels *scalar_table(const struct gqa__cpu *cpu, gqa_numerics numerics)
{
    const struct gqa__kernels *fma = cpu->avx2_fma ? gqa__scalar_fma(numerics) : NULL;

    return fma != NULL ? fma : gqa__scalar_baseline(numerics);
}

/* In rising order of preference. */
static const struct candidate candidates[] = {
    {GQA_ISA_SCALAR, "scalar", runs_anywhere, scalar_table, "nothing"},
    {GQA_ISA_AVX2, "avx2", runs_avx2, avx2_table, "AVX2, FMA and F16C"},
    {GQA_ISA_AVX512, "avx512", runs_avx512, avx512_table, "AVX-512 F, BW, DQ and VL"},
    {GQA_ISA_AMX, "amx", runs_amx, amx_table, "AMX bf16 and int8, AVX-512 bf16 and VNNI"},
    {GQA_ISA_NEON, "neon", runs_neon, neon_table, "NEON"},
};

enum { CANDIDATES = sizeof candidates / sizeof candidates[0] };

const char *gqa__isa_name(gqa_isa isa)
{
    for (int32_t i = 0; i < CANDIDATES; i++) {
        if (candidates[i].isa == isa) {
            return candidates[i].name;
        }
    }
    return isa == GQA_ISA_AUTO ? "auto" : "unknown";
}

bool gqa__isa_named(const char *name, gqa_isa *isa)
{
    for (int i = GQA_ISA_AUTO; i <= (int)GQA_ISA_NEON; i++) {
        if (strcmp(name, gqa__isa_name((gqa_isa)i)) == 0) {
            *isa = (gqa_isa)i;
            return true;
        }
    }
    return false;
}

/* Was it built? Then it has a table for some numerics. */
static bool is_built(const struct candidate *candidate, const struct gqa__cpu *cpu)
{
    return candidate->table(cpu, GQA_NUMERICS_F32) != NULL ||
           candidate->table(cpu, GQA_NUMERICS_BF16) != NULL;
}

static uint32_t bit_of(const struct candidate *candidate)
{
    return 1u << (uint32_t)candidate->isa;
}

uint32_t gqa__kernels_built(void)
{
    struct gqa__cpu cpu;
    uint32_t bits = 0;

    gqa__cpu_detect(&cpu);
    for (int32_t i = 0; i < CANDIDATES; i++) {
        bits |= is_built(&candidates[i], &cpu) ? bit_of(&candidates[i]) : 0;
    }
    return bits;
}

uint32_t gqa__kernels_available(void)
{
    struct gqa__cpu cpu;
    uint32_t bits = 0;

    gqa__cpu_detect(&cpu);
    for (int32_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *candidate = &candidates[i];
        bits |= is_built(candidate, &cpu) && candidate->runs(&cpu) ? bit_of(candidate) : 0;
    }
    return bits;
}

/* The table for the numerics, or NULL and *reason. Whether this machine runs it is asked last:
 * `runs` of amx asks the operating system for a permission, which it must not do for numerics that
 * amx does not serve. */
static const struct gqa__kernels *table_of(const struct candidate *candidate,
                                           const struct gqa__cpu *cpu, gqa_numerics numerics,
                                           const char **reason)
{
    const struct gqa__kernels *table = candidate->table(cpu, numerics);

    if (!is_built(candidate, cpu)) {
        *reason = "this library is built without it";
    } else if (table == NULL) {
        *reason = "it does not serve these numerics";
    } else if (!candidate->runs(cpu)) {
        *reason = "the CPU or the operating system lacks ";
        table = NULL;
    }
    return table;
}

static gqa_status select_forced(const struct gqa__kernels **out, gqa_isa isa, gqa_numerics numerics,
                                gqa_error *err)
{
    static const char field[] = "config.isa";
    struct gqa__cpu cpu;

    gqa__cpu_detect(&cpu);
    for (int32_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *candidate = &candidates[i];
        const char *reason = "", *needs = "";

        if (candidate->isa != isa) {
            continue;
        }
        *out = table_of(candidate, &cpu, numerics, &reason);
        if (*out != NULL) {
            return GQA_OK;
        }
        needs = candidate->table(&cpu, numerics) != NULL ? candidate->needs : "";
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, field, "kernel set %s: %s%s", candidate->name,
                         reason, needs);
    }
    return gqa__fail(err, GQA_ERR_ARG, field, "%d is no kernel set: expected 0 (auto) to %d",
                     (int)isa, (int)candidates[CANDIDATES - 1].isa);
}

/* Sets above the limit are not asked: for AMX asking would change the process. */
static const struct gqa__kernels *select_best(gqa_isa max_isa, gqa_numerics numerics)
{
    struct gqa__cpu cpu;
    const struct gqa__kernels *best = NULL;

    gqa__cpu_detect(&cpu);
    for (int32_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *candidate = &candidates[i];
        const struct gqa__kernels *table = NULL;
        const char *reason;

        if (gqa__isa_within(candidate->isa, max_isa)) {
            table = table_of(candidate, &cpu, numerics, &reason);
        }
        best = table != NULL ? table : best;
    }
    return best;
}

gqa_status gqa__select(const struct gqa__kernels **out, gqa_isa isa, gqa_isa max_isa,
                       gqa_numerics numerics, gqa_error *err)
{
    *out = NULL;
    if (isa != GQA_ISA_AUTO) {
        return select_forced(out, isa, numerics, err);
    }
    *out = select_best(max_isa, numerics);
    return GQA_OK;
}

/* --- integer K and V -------------------------------------------------------------------------- */

static bool runs_vnni(const struct gqa__cpu *cpu)
{
    return cpu->avx512_vnni;
}

/* Kernels for integers: the kernel set whose vectors they have, and what they need. */
struct integer_candidate {
    gqa_isa isa;
    bool (*runs)(const struct gqa__cpu *cpu);
    const struct gqa__integer_kernels *(*table)(void);
};

/* In rising order of preference. */
static const struct integer_candidate integer_candidates[] = {
    {GQA_ISA_SCALAR, runs_anywhere, gqa__scalar_integer_baseline},
    {GQA_ISA_SCALAR, runs_avx2, gqa__scalar_integer_fma},
    {GQA_ISA_AVX2, runs_avx2, gqa__avx2_integer},
    {GQA_ISA_AVX512, runs_avx512, gqa__avx512_integer},
    {GQA_ISA_AVX512, runs_vnni, gqa__vnni_integer},
    {GQA_ISA_AMX, runs_amx, gqa__amx_integer},
    {GQA_ISA_NEON, runs_neon, gqa__neon_integer},
};

enum { INTEGER_CANDIDATES = sizeof integer_candidates / sizeof integer_candidates[0] };

const struct gqa__integer_kernels *gqa__select_integer(const struct gqa__kernels *kernels)
{
    const gqa_isa isa = kernels->isa, vectors = isa == GQA_ISA_AMX ? GQA_ISA_AVX512 : isa;
    const struct gqa__integer_kernels *best = NULL;
    struct gqa__cpu cpu;

    gqa__cpu_detect(&cpu);
    for (int32_t i = 0; i < INTEGER_CANDIDATES; i++) {
        const struct integer_candidate *candidate = &integer_candidates[i];
        const bool fits =
            (candidate->isa == isa || candidate->isa == vectors) && candidate->runs(&cpu);
        const struct gqa__integer_kernels *table = fits ? candidate->table() : NULL;

        best = table != NULL ? table : best;
    }
    return best;
}
