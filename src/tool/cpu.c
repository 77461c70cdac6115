/* cpu.c - see cpu.h. */
#include "tool/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gqa/info.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

static void read_name(char name[64])
{
    unsigned int regs[12] = {0};
    const char *text = (const char *)regs;

    strcpy(name, "x86");
    for (unsigned int i = 0; i < 3; i++) {
        unsigned int *r = regs + 4 * i;
        if (!__get_cpuid(0x80000002U + i, &r[0], &r[1], &r[2], &r[3])) {
            return;
        }
    }
    text += strspn(text, " ");
    snprintf(name, 64, "%.*s", (int)(sizeof regs - (size_t)(text - (const char *)regs)), text);
}

#elif defined(__aarch64__)

static void read_name(char name[64])
{
    strcpy(name, "AArch64");
}

#else

static void read_name(char name[64])
{
    strcpy(name, "unknown");
}

#endif

void tool_cpu_read(struct tool_cpu *cpu)
{
    static const struct {
        gqa_cpu_feature bit;
        const char *name;
    } names[] = {{GQA_CPU_AVX2, "avx2"},
                 {GQA_CPU_AVX512, "avx512"},
                 {GQA_CPU_AVX512_BF16, "avx512-bf16"},
                 {GQA_CPU_AMX_BF16, "amx-bf16"},
                 {GQA_CPU_NEON, "neon"}};
    const uint32_t features = gqa_cpu_features();

    memset(cpu, 0, sizeof *cpu);
    read_name(cpu->name);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((features & (uint32_t)names[i].bit) != 0) {
            cpu->feature[cpu->features++] = names[i].name;
        }
    }
}
