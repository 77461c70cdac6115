/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - a limit of the machine as a case: run in alternation with what it bounds. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "fill.h"
#include "machine.h"
#include "parallel/tasks.h"
#include "timing.h"
#include "work.h"

#define SAMPLE_SECONDS 2e-3
#define DRAM_BYTES     ((size_t)3 << 29)

struct probe {
    struct bench_work work;
    struct bench_machine machine;
    enum bench_probe kind;
    gqa_runtime runtime;
    int32_t threads;
    int64_t rounds;          /* of the multiply-adds, or of the whole buffer */
    unsigned char *first;    /* the host's memory, and how much of it is used */
    size_t all_bytes, bytes; /* bytes: per thread and round */
    size_t at;
    int streams;
};

static void body(void *arg, int64_t item, int32_t slot)
{
    struct probe *probe = arg;
    const unsigned char *from;

    (void)slot;
    if (probe->kind == PROBE_FMA) {
        probe->machine.fma(probe->rounds);
        return;
    }
    if (probe->kind == PROBE_AMX) {
        probe->machine.amx(probe->rounds);
        return;
    }
    from = probe->first + probe->at + (size_t)item * probe->bytes;
    for (int64_t r = 0; r < probe->rounds; r++) {
        probe->machine.read(from, probe->bytes, probe->streams);
    }
}

static double timed(struct probe *probe)
{
    const struct gqa__tasks tasks = {body, probe, probe->threads};
    double start = bench_now();

    gqa__run_tasks(&probe->runtime, &tasks);
    return bench_now() - start;
}

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct probe *probe = (struct probe *)work;
    size_t step = probe->bytes * (size_t)probe->threads;

    (void)why;
    *seconds = timed(probe);
    probe->at = probe->at + 2 * step <= probe->all_bytes ? probe->at + step : 0;
    return true;
}

static void destroy(struct bench_work *work)
{
    free(work);
}

/* The host's buffer for reads, made once. */
static bool take_memory(struct bench_host *host, size_t bytes)
{
    if (host->memory_bytes < bytes) {
        bench_free(host->memory);
        host->memory = bench_alloc(bytes);
        host->memory_bytes = host->memory == NULL ? 0 : bytes;
        if (host->memory != NULL) {
            bench_fill_bf16((uint16_t *)(void *)host->memory, bytes / 2, 1.0f, 7);
        }
    }
    return host->memory != NULL;
}

/* Bytes per thread, and the bytes they all move through: more than the caches for DRAM. */
static bool size_read(struct probe *probe, const struct bench_spec *spec, struct bench_host *host)
{
    bool dram = spec->kib == 0;

    probe->streams = spec->streams;
    probe->bytes = dram ? (size_t)32 << 20 : (size_t)spec->kib << 10;
    probe->all_bytes = probe->bytes * (size_t)spec->threads;
    if (dram && probe->all_bytes < DRAM_BYTES) {
        probe->all_bytes = DRAM_BYTES;
    }
    if (!take_memory(host, probe->all_bytes)) {
        return false;
    }
    probe->first = host->memory;
    return true;
}

/* Rounds that take about SAMPLE_SECONDS. */
static void calibrate(struct probe *probe)
{
    bool moving = probe->all_bytes > probe->bytes * (size_t)probe->threads;

    probe->rounds = 1;
    while (!moving && probe->rounds < (int64_t)1 << 40 && timed(probe) < 0.5 * SAMPLE_SECONDS) {
        probe->rounds *= 2;
    }
}

struct bench_work *bench_probe_create(const struct bench_spec *spec, struct bench_host *host,
                                      char why[BENCH_WHY_TEXT])
{
    struct probe *probe = calloc(1, sizeof *probe);

    if (probe == NULL) {
        snprintf(why, BENCH_WHY_TEXT, "no memory");
        return NULL;
    }
    bench_machine_detect(&probe->machine);
    probe->kind = (enum bench_probe)spec->probe;
    probe->threads = spec->threads;
    if (probe->kind == PROBE_AMX && probe->machine.amx == NULL) {
        snprintf(why, BENCH_WHY_TEXT, "this machine has no AMX");
        goto fail;
    }
    if (!bench_workers_lend(&host->workers, spec->threads, &probe->runtime)) {
        snprintf(why, BENCH_WHY_TEXT, "no %d threads", (int)spec->threads);
        goto fail;
    }
    if (probe->kind == PROBE_READ && !size_read(probe, spec, host)) {
        snprintf(why, BENCH_WHY_TEXT, "no memory for the read probe");
        goto fail;
    }
    calibrate(probe);
    probe->work.run = run;
    probe->work.destroy = destroy;
    if (probe->kind == PROBE_READ) {
        probe->work.bytes = (double)probe->bytes * (double)probe->rounds * probe->threads;
    } else if (probe->kind == PROBE_AMX) {
        probe->work.flop = probe->machine.amx(1) * (double)probe->rounds * probe->threads;
    } else {
        probe->work.flop = probe->machine.fma(1) * (double)probe->rounds * probe->threads;
    }
    return &probe->work;

fail:
    free(probe);
    return NULL;
}
