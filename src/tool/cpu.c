/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - see cpu.h. */
#include "tool/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* Registers of cpuid: leaf 1, then leaf 7 subleaf 0 and 1. */
enum { L1_ECX, L7_EBX, L7_ECX, L7_EDX, L7_1_EAX, REGISTERS };

static const struct {
    const char *name;
    int reg, bit;
} bits[] = {
    {"sse4.2", L1_ECX, 20},     {"avx", L1_ECX, 28},        {"f16c", L1_ECX, 29},
    {"fma", L1_ECX, 12},        {"avx2", L7_EBX, 5},        {"avx512f", L7_EBX, 16},
    {"avx512dq", L7_EBX, 17},   {"avx512bw", L7_EBX, 30},   {"avx512vl", L7_EBX, 31},
    {"avx512vnni", L7_ECX, 11}, {"avx512fp16", L7_EDX, 23}, {"avx512bf16", L7_1_EAX, 5},
    {"amx-tile", L7_EDX, 24},   {"amx-bf16", L7_EDX, 22},   {"amx-int8", L7_EDX, 25},
};

static void read_name(char name[64])
{
    unsigned int regs[12] = {0};
    const char *text = (const char *)regs;

    for (unsigned int i = 0; i < 3; i++) {
        unsigned int *r = regs + 4 * i;
        if (!__get_cpuid(0x80000002U + i, &r[0], &r[1], &r[2], &r[3])) {
            return;
        }
    }
    text += strspn(text, " ");
    snprintf(name, 64, "%.*s", (int)(sizeof regs - (size_t)(text - (const char *)regs)), text);
}

void tool_cpu_read(struct tool_cpu *cpu)
{
    unsigned int reg[REGISTERS] = {0}, a = 0, b = 0, c = 0, d = 0;

    memset(cpu, 0, sizeof *cpu);
    strcpy(cpu->name, "x86");
    read_name(cpu->name);
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        reg[L1_ECX] = c;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        reg[L7_EBX] = b;
        reg[L7_ECX] = c;
        reg[L7_EDX] = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
            reg[L7_1_EAX] = a;
        }
    }
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        if (reg[bits[i].reg] >> bits[i].bit & 1) {
            cpu->feature[cpu->features++] = bits[i].name;
        }
    }
}

#else

void tool_cpu_read(struct tool_cpu *cpu)
{
    memset(cpu, 0, sizeof *cpu);
#if defined(__aarch64__)
    strcpy(cpu->name, "AArch64");
    cpu->feature[cpu->features++] = "neon";
#else
    strcpy(cpu->name, "unknown");
#endif
}

#endif
