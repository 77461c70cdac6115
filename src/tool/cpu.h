/* cpu.h - the processor's name, and what it and the operating system offer, for gqa info. */
#ifndef GQA__TOOL_CPU_H
#define GQA__TOOL_CPU_H

struct tool_cpu {
    char name[64];          /* brand, or the architecture */
    const char *feature[8]; /* static names of what gqa_cpu_features says */
    int features;
};

void tool_cpu_read(struct tool_cpu *cpu);

#endif
