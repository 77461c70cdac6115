/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - from a checked call and a workspace to its results: scratch, tasks, counts. */
#include "neuron/neuron.h"

#include <string.h>

#include "base/fpmode.h"
#include "base/memory.h"
#include "parallel/tasks.h"

/* Where everything of the call lies in the workspace. */
struct neuron_layout {
    struct gqa__neuron_count *counts; /* [slots] */
    unsigned char *scratch;           /* [slots][slot_bytes] */
    size_t slot_bytes;
};

struct neuron_job {
    const struct gqa__neuron *call;
    struct neuron_layout layout;
};

static void carve_workspace(struct gqa__neuron *call, struct gqa__arena *arena,
                            struct neuron_layout *layout)
{
    struct gqa__arena slot;

    gqa__arena_count(&slot);
    call->path->scratch(call, &slot);
    layout->slot_bytes = slot.used;
    arena->failed |= slot.failed;
    call->shared = call->path->share == NULL ? NULL : call->path->share(call, arena);
    layout->counts = gqa__arena_take(arena, call->slots, sizeof *layout->counts);
    layout->scratch = gqa__arena_take(arena, call->slots, slot.used);
}

size_t gqa__neuron_bytes(struct gqa__neuron *call)
{
    struct gqa__arena arena;
    struct neuron_layout layout;

    gqa__arena_count(&arena);
    carve_workspace(call, &arena, &layout);
    return arena.failed ? SIZE_MAX : arena.used;
}

static void run_item(void *arg, int64_t item, int32_t slot)
{
    const struct neuron_job *const job = arg;
    const struct neuron_layout *const layout = &job->layout;
    const struct gqa__neuron_worker worker = {job->call, &layout->counts[slot]};
    struct gqa__arena arena;

    gqa__arena_open(&arena, layout->scratch + (size_t)slot * layout->slot_bytes,
                    layout->slot_bytes);
    job->call->path->run(&worker, &arena, item);
}

static void add_up(struct gqa__neuron *call, const struct gqa__neuron_count *counts)
{
    gqa_neuron_output *const out = &call->out;
    int64_t rows_without_keys = 0;

    for (int32_t i = 0; i < call->slots; i++) {
        out->tiles += counts[i].tiles;
        out->tiles_skipped += counts[i].tiles_skipped;
        out->hbm_bytes += counts[i].hbm_bytes;
        out->madds += counts[i].madds;
        rows_without_keys += counts[i].rows_without_keys;
    }
    if (rows_without_keys > 0) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_ROWS_WITHOUT_KEYS, "output.out",
                         "a row that sees no key gets an average of values, not 0");
    }
}

void gqa__neuron_run(struct gqa__neuron *call, void *workspace, size_t size)
{
    const gqa__fpmode saved = gqa__fpmode_enter();
    struct gqa__arena arena;
    struct neuron_job job = {call, {NULL, NULL, 0}};
    const struct gqa__tasks tasks = {run_item, &job, call->path->items(call)};
    gqa_runtime runtime = call->runtime;

    if (call->in.trace != NULL) { /* on this thread, in order */
        runtime.num_threads = 1;
        runtime.parallel_for = NULL;
        runtime.pool = NULL;
    }
    gqa__arena_open(&arena, workspace, size);
    carve_workspace(call, &arena, &job.layout);
    memset(job.layout.counts, 0, (size_t)call->slots * sizeof *job.layout.counts);
    gqa__run_tasks(&runtime, &tasks);
    add_up(call, job.layout.counts);
    gqa__fpmode_leave(saved);
}
