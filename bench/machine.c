/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. Compiled for the baseline. */
#include "machine.h"

#include "gqa/info.h"
#include "kernel/choice/cpu.h"

void bench_machine_detect(struct bench_machine *machine)
{
    machine->fma_name = "plain";
    machine->fma = bench_fma_plain;
    machine->amx = NULL;
    machine->read = bench_read_plain;
#ifdef GQA_BENCH_X86
    const uint32_t features = gqa_cpu_features();

    if ((features & GQA_CPU_AVX2) != 0) {
        machine->fma_name = "avx2";
        machine->fma = bench_fma_avx2;
        machine->read = bench_read_avx2;
    }
    if ((features & GQA_CPU_AVX512) != 0) {
        machine->fma_name = "avx512";
        machine->fma = bench_fma_avx512;
        machine->read = bench_read_avx512;
    }
#ifndef GQA_BENCH_TILES /* else there is no tile unit */
    if ((features & GQA_CPU_AMX_BF16) != 0 && gqa__cpu_amx_permission()) {
        machine->amx = bench_tiles_amx;
    }
#endif
#endif
}
