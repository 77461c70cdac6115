/* SPDX-License-Identifier: Apache-2.0 */
/* integer_tables.c - see integer_tables.h. */
#include "support/integer_tables.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "kernel/amx/amx.h"
#include "kernel/avx2/avx2.h"
#include "kernel/avx512/avx512.h"
#include "kernel/choice/cpu.h"
#include "kernel/neon/neon.h"
#include "kernel/scalar/scalar.h"
#include "kernel/vnni/vnni.h"

static bool runs_tiles(const struct gqa__cpu *cpu)
{
    return cpu->avx512_bf16 && cpu->avx512_vnni && cpu->amx_bf16 && cpu->amx_int8 &&
           gqa__amx_integer() != NULL && gqa__cpu_amx_permission();
}

int32_t list_integer_tables(struct integer_table tables[MOST_INTEGER_TABLES])
{
    static bool told;
    struct gqa__cpu cpu;
    int32_t n = 0;

    gqa__cpu_detect(&cpu);
    const bool tiles = runs_tiles(&cpu);
    const struct integer_table all[] = {
        {gqa__scalar_integer_baseline(), "scalar (baseline)"},
        {cpu.avx2_fma ? gqa__scalar_integer_fma() : NULL, "scalar (fma)"},
        {cpu.avx2_fma ? gqa__avx2_integer() : NULL, "avx2"},
        {cpu.avx512 ? gqa__avx512_integer() : NULL, "avx512"},
        {cpu.avx512_vnni ? gqa__vnni_integer() : NULL, "avx512 with VNNI"},
        {tiles ? gqa__amx_integer() : NULL, "amx"},
        {cpu.neon ? gqa__neon_integer() : NULL, "neon"},
    };
    if (tiles) {
        gqa__amx(GQA_NUMERICS_BF16)->enter();
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].kernels == NULL && !told) {
            printf("skipped: integer kernels %s are not built or this machine does not run them\n",
                   all[i].name);
        }
        if (all[i].kernels != NULL) {
            tables[n++] = all[i];
        }
    }
    told = true;
    return n;
}
