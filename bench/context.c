/* SPDX-License-Identifier: Apache-2.0 */
/* context.c - see context.h. */
#define _DEFAULT_SOURCE
#include "context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commit.h"
#include "gqa/gqa.h"
#include "machine.h"

/* What the first line that begins with `head` says behind `mark`; NULL = from its start. */
static void read_line(const char *path, const char *head, const char *mark, char *text)
{
    FILE *file = fopen(path, "r");
    char line[256];

    snprintf(text, BENCH_CONTEXT_TEXT, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *from = mark == NULL ? line : strstr(line, mark);

        if (strncmp(line, head, strlen(head)) == 0 && from != NULL) {
            from += mark == NULL ? 0 : strlen(mark);
            from += strspn(from, " ");
            snprintf(text, BENCH_CONTEXT_TEXT, "%.*s", (int)strcspn(from, "]\n"), from);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* What has to be said of a kernel set: something may stand in place of the tile unit. */
static const char *note_of(int isa)
{
#ifdef GQA_BENCH_TILES
    return isa == GQA_ISA_AMX ? " (tiles " GQA_BENCH_TILES ")" : "";
#else
    (void)isa;
    return "";
#endif
}

static void name_kernel_sets(char text[BENCH_CONTEXT_TEXT])
{
    size_t at = 0;

    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        if (gqa_isa_available((gqa_isa)isa)) {
            at += (size_t)snprintf(text + at, BENCH_CONTEXT_TEXT - at, "%s%s%s", at == 0 ? "" : " ",
                                   gqa_isa_name((gqa_isa)isa), note_of(isa));
        }
    }
}

void bench_context_read(struct bench_context *context)
{
    const time_t now = time(NULL);
    struct bench_machine machine;
    gqa_build_info info = {0};

    memset(context, 0, sizeof *context);
    strftime(context->date, sizeof context->date, "%Y-%m-%dT%H:%M:%S+00:00", gmtime(&now));
    read_line("/proc/cpuinfo", "model name", ":", context->cpu);
    context->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (getloadavg(&context->load, 1) != 1) {
        context->load = -1;
    }
    read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "", NULL, context->governor);
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", "", "[", context->huge_pages);
    name_kernel_sets(context->kernel_sets);
    bench_machine_detect(&machine);
    snprintf(context->multiply_add, sizeof context->multiply_add, "%s", machine.fma_name);
    context->tiles = machine.amx != NULL;
    gqa_build_info_get(&info);
    context->compiler = info.compiler;
    context->commit = GQA_BENCH_COMMIT;
}
