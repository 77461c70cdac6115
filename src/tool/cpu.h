/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h - what the processor says it can do, for gqa info. The library's own answer, which minds
 * the operating system too, is gqa_build_info. */
#ifndef GQA__TOOL_CPU_H
#define GQA__TOOL_CPU_H

struct tool_cpu {
    char name[64];           /* brand, or the architecture */
    const char *feature[16]; /* static names */
    int features;
};

void tool_cpu_read(struct tool_cpu *cpu);

#endif
