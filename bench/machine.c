/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. Compiled for the baseline. */
#include "machine.h"

#include "kernel/choice/cpu.h"

void bench_machine_detect(struct bench_machine *machine)
{
    machine->fma_name = "plain";
    machine->fma = bench_fma_plain;
    machine->amx = NULL;
    machine->read = bench_read_plain;
#ifdef GQA_BENCH_X86
    struct gqa__cpu cpu;

    gqa__cpu_detect(&cpu);
    if (cpu.avx2_fma) {
        machine->fma_name = "avx2";
        machine->fma = bench_fma_avx2;
        machine->read = bench_read_avx2;
    }
    if (cpu.avx512) {
        machine->fma_name = "avx512";
        machine->fma = bench_fma_avx512;
        machine->read = bench_read_avx512;
    }
    if (cpu.amx_bf16 && gqa__cpu_amx_permission()) {
        machine->amx = bench_tiles_amx;
    }
#endif
}
