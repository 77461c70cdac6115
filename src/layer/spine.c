/* SPDX-License-Identifier: Apache-2.0 */
/* spine.c - see spine.h. Where a row may see later tokens of the call, K and V of all blocks are
 * appended in a first pass, and the queries follow in a second. */
#include "layer/spine.h"

#include <string.h>

#include "base/fpmode.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "cache/ring.h"
#include "layer/block.h"
#include "layer/health.h"
#include "layer/neuron.h"
#include "layer/stages.h"
#include "reference/reference.h"

/* Tokens of a block: enough rows for the projections, 20 MB at most; without projections more,
 * since threads meet at the end of each block and a head's keys stay in L2 from tile to tile. */
enum { TOKEN_BLOCK = 128, ATTENTION_BLOCK = 256 };

/* Where rows see few keys, those stay in L2 anyway. Then the copies of q and of the attention's
 * output should do so too, from when they are made to when they are read. */
enum { FEW_KEYS = 1024, STAGED_BYTES = 1 << 20 /* of each thread */ };

static bool sees_few_keys(const struct gqa__shape *shape)
{
    const bool within = shape->window > 0 && shape->right >= 0;

    return (within && shape->window + shape->right <= FEW_KEYS) ||
           (shape->chunk > 0 && shape->chunk <= FEW_KEYS);
}

/* Without projections: at least two tiles of each KV head. A tile's rows lie within a block: where
 * tiles are told of, blocks are those of one thread, and of everything staged, whoever computes and
 * whatever else the call asks for. */
static int32_t attention_block(const struct gqa__call *call)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const bool told = call->out.work != NULL || call->in.trace != NULL;
    const int64_t staged =
        told ? (int64_t)shape->hq * (shape->dk + shape->dv) : gqa__places_staged(call);
    const int64_t bytes = staged * (int64_t)sizeof(float);
    const int64_t threads = told ? 1 : gqa__thread_count(call->runtime);
    const int64_t tile = (call->params->kernels->tile_rows + shape->group - 1) / shape->group;
    int64_t wanted = ATTENTION_BLOCK;

    if (bytes > 0 && sees_few_keys(shape)) {
        wanted = gqa__max(2 * tile, STAGED_BYTES / bytes) * threads;
    }
    return (int32_t)gqa__min(wanted, ATTENTION_BLOCK);
}

static int32_t block_tokens(const struct gqa__call *call)
{
    int32_t wanted = call->params->knobs.token_block;
    const int64_t all = gqa__max(1, (int64_t)call->outer * call->tokens);

    if (call->params->backend == GQA_BACKEND_NEURON) {
        wanted = INT32_MAX; /* a profile takes whole entries */
    } else if (wanted <= 0) {
        wanted = call->from_hidden || call->project ? TOKEN_BLOCK : attention_block(call);
    }
    return (int32_t)gqa__min(all, wanted);
}

/* Pages of the call's own cache: each entry's last one may be partly filled. */
static int64_t own_pages(const struct gqa__call *call, int64_t page_size)
{
    const int64_t each = call->batch * ((call->tokens + page_size - 1) / page_size);
    const int64_t all = (int64_t)call->outer * call->tokens / page_size + call->batch;

    return gqa__max(1, gqa__min(each, all));
}

/* The call's own cache: a page table over memory that holds exactly this call. */
static struct gqa_cache *carve_own_cache(const struct gqa__call *call, struct gqa__arena *arena)
{
    const struct gqa__params *const params = call->params;
    struct gqa__cache_layout layout = gqa__layer_cache_layout(params);
    gqa_cache_options options = {0};
    const int32_t tokens = call->tokens > 0 ? call->tokens : 1;

    options.struct_size = sizeof options;
    options.max_sequences = call->batch > 0 ? call->batch : 1;
    options.max_tokens = tokens;
    options.page_size = 128;
    options.num_pages = own_pages(call, options.page_size);
    options.dtype_k = params->config.numerics == GQA_NUMERICS_BF16 ? GQA_BF16 : GQA_F32;
    options.dtype_v = options.dtype_k;
    if (gqa__cache_layout_init(&layout, &options, NULL) != GQA_OK) {
        arena->failed = true;
        return NULL;
    }
    return gqa__cache_carve(arena, &layout, &options);
}

/* Attention's memory: the walk's, or the reference's. */
static void carve_attention(struct gqa__spine *spine, struct gqa__arena *arena)
{
    const struct gqa__call *const call = spine->call;
    struct gqa__neuron_attention neuron;

    spine->reference = NULL;
    spine->attention = NULL;
    spine->neuron = NULL;
    if (call->params->backend == GQA_BACKEND_NEURON) {
        const struct gqa__neuron_limits limits = gqa__neuron_limits_of(call);
        spine->neuron = gqa__arena_take(arena, 1, sizeof *spine->neuron);
        gqa__neuron_attention_carve(&neuron, arena, call->params, &limits);
        if (spine->neuron != NULL) {
            *spine->neuron = neuron;
        }
    } else if (call->params->backend == GQA_BACKEND_REFERENCE) {
        const size_t size = gqa__reference_scratch_bytes(call->params, call->keys);
        arena->failed = arena->failed || size > INT64_MAX;
        spine->reference = gqa__arena_take(arena, size > INT64_MAX ? 0 : (int64_t)size, 1);
    } else {
        const struct gqa__attention_limits limits = {
            .tokens = spine->block,
            .segments = (int32_t)gqa__min(spine->block, call->batch),
            .keys = call->keys,
            .threads = gqa__thread_count(call->runtime),
            .rotated = call->cache != NULL && call->cache->layout.rotate_k};
        spine->attention = gqa__attention_carve(arena, call->params, &limits);
    }
}

bool gqa__spine_carve(struct gqa__spine *spine, struct gqa__call *call, struct gqa__arena *arena)
{
    const struct gqa__shape *const shape = &call->params->shape;
    const int64_t n = block_tokens(call);
    const int64_t pairs = call->alone ? 0 : call->params->rope.pairs;

    spine->call = call;
    spine->block = (int32_t)n;
    call->entries = gqa__arena_take(arena, call->batch, sizeof *call->entries);
    call->views = call->append && !call->in_blocks
                      ? NULL
                      : gqa__arena_take(arena, call->batch, sizeof *call->views);
    call->places =
        call->append && call->in_blocks
            ? gqa__arena_take(arena, (int64_t)call->outer * call->tokens, sizeof *call->places)
            : NULL;
    spine->runs = gqa__arena_take(arena, n, sizeof *spine->runs);
    spine->segments = gqa__arena_take(arena, n, sizeof *spine->segments);
    spine->positions = gqa__arena_take(arena, n, sizeof(int32_t));
    spine->rotary = gqa__arena_take(arena, n * shape->rope_axes, sizeof(int32_t));
    spine->columns = gqa__arena_take(arena, n, sizeof(int32_t));
    spine->freq = gqa__arena_take(arena, gqa__thread_count(call->runtime) * pairs, sizeof(double));
    spine->scratch = NULL;
    if (shape->hidden > 0 && !call->alone) {
        spine->scratch = gqa__arena_take(
            arena,
            (int64_t)gqa__stages_of(call->params)->scratch(call->params, (int32_t)n, call->runtime),
            1);
    }
    gqa__places_carve(&spine->at, call, n, spine->scratch, arena);
    spine->cache = call->cache;
    if (call->append && call->cache == NULL && !call->in_blocks) {
        spine->cache = carve_own_cache(call, arena);
    }
    spine->health = gqa__arena_take(arena, 1, sizeof *spine->health);
    if (spine->health != NULL && call->out.health != NULL) {
        gqa__health_clear(spine->health);
    }
    carve_attention(spine, arena);
    spine->cut = GQA_CUT_ROWS;
    spine->choice = (struct gqa__neuron_choice){GQA_NEURON_STRATEGY_NONE, GQA_NEURON_NO_PROFILE};
    spine->work = (gqa_work){0};
    spine->trace = (struct gqa__trace){call->in.trace, call->in.trace_user, 0};
    return !arena->failed;
}

/* Where the next block starts: token `done` of batch entry b. */
struct block_cursor {
    int32_t b, done;
};

/* Fill the next block with valid tokens, entry after entry; of one phase, where phases have
 * matrices of their own. Returns its tokens; *runs counts. */
static int32_t next_block(struct gqa__spine *spine, struct block_cursor *cursor, int32_t *runs)
{
    const bool phases = gqa__stage_two_phases(spine->call->params);
    int32_t n = 0;

    *runs = 0;
    while (cursor->b < spine->call->batch && n < spine->block) {
        const struct gqa__batch_entry *const entry = &spine->call->entries[cursor->b];
        const int32_t rest = entry->n - cursor->done;
        const int32_t take = rest < spine->block - n ? rest : spine->block - n;

        if (take > 0 && phases && n > 0 && entry->tkg != spine->tkg) {
            break;
        }
        if (take > 0) {
            struct gqa__token_run *const run = &spine->runs[(*runs)++];
            run->b = cursor->b;
            run->first = entry->first_valid + cursor->done;
            run->n = take;
            run->at = n;
            run->tensor_b = entry->tensor_b;
            run->tensor_t = entry->tensor_t + run->first;
            spine->tkg = entry->tkg;
            for (int32_t t = 0; t < take; t++) {
                spine->positions[n + t] =
                    gqa__call_position(spine->call, cursor->b, run->first + t);
            }
            n += take;
            cursor->done += take;
        }
        if (cursor->done == entry->n) {
            cursor->b++;
            cursor->done = 0;
        }
    }
    return n;
}

/* Index of the first token of a run in its sequence. */
static int32_t index_of_run(const struct gqa__call *call, const struct gqa__token_run *run)
{
    const struct gqa__batch_entry *const entry = &call->entries[run->b];

    return entry->past + run->first - entry->first_valid;
}

/* One (run, KV head) of a block's append. */
static void write_head(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__spine *const spine = arg;
    const struct gqa__shape *const shape = &spine->call->params->shape;
    const struct gqa__token_run *const run = &spine->runs[item / shape->hkv];
    const int32_t sequence = spine->call->entries[run->b].sequence;
    const int32_t head = (int32_t)(item % shape->hkv);
    const int32_t first = spine->cache->sequences[sequence].length - run->n;
    struct gqa__kv_rows rows;

    (void)slot;
    rows.k = gqa__place_vector(&spine->at.k, run, 0) + (int64_t)head * shape->dk;
    rows.k_step = gqa__place_step(&spine->at.k);
    rows.v = gqa__place_vector(&spine->at.v, run, 0) + (int64_t)head * shape->dv;
    rows.v_step = gqa__place_step(&spine->at.v);
    gqa__cache_write(spine->cache, sequence, head, first, run->n, &rows);
}

/* The same where the keys lie in the host's blocks. */
static void write_blocks(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__spine *const spine = arg;
    const struct gqa__call *const call = spine->call;
    const struct gqa__shape *const shape = &call->params->shape;
    const struct gqa__token_run *const run = &spine->runs[item / shape->hkv];
    const struct gqa__host_keys *const host = &call->views[run->b].host;
    const int32_t head = (int32_t)(item % shape->hkv);
    const int32_t first = index_of_run(call, run);
    const int64_t *const slots = call->blocks.slot_mapping;
    struct gqa__host_write write = {.tokens = run->n, .flush = shape->flush};

    (void)slot;
    write.slots = slots != NULL ? slots + gqa__call_token(call, run->b, run->first) : NULL;
    write.src = gqa__place_vector(&spine->at.k, run, 0) + (int64_t)head * shape->dk;
    write.step = gqa__place_step(&spine->at.k);
    write.n = shape->dk;
    gqa__host_store(call->params->kernels, host, &host->k, head, first, &write);
    write.src = gqa__place_vector(&spine->at.v, run, 0) + (int64_t)head * shape->dv;
    write.step = gqa__place_step(&spine->at.v);
    write.n = shape->dv;
    gqa__host_store(call->params->kernels, host, &host->v, head, first, &write);
}

static void append_block(struct gqa__spine *spine, int32_t runs)
{
    const bool in_blocks = spine->call->in_blocks;
    const struct gqa__tasks tasks = {in_blocks ? write_blocks : write_head, spine,
                                     (int64_t)runs * spine->call->params->shape.hkv};

    for (int32_t i = 0; i < runs && !in_blocks; i++) {
        const struct gqa__token_run *const run = &spine->runs[i];
        const struct gqa__batch_entry *const entry = &spine->call->entries[run->b];
        for (int32_t t = 0; t < run->n; t++) {
            spine->columns[run->at + t] = entry->columns + run->first + t;
        }
        gqa__cache_extend(spine->cache, entry->sequence, run->n, spine->positions + run->at,
                          spine->columns + run->at, entry->columns + run->first + run->n);
    }
    gqa__run_tasks(spine->call->runtime, &tasks);
}

/* What gqa_attend has more. at: the segment's first row in [B, T, Hq]. */
static void add_attend(const struct gqa__attend *attend, int64_t at, struct gqa__segment *segment)
{
    const int32_t dv = segment->view.dv;

    segment->range_begin = attend->range_begin;
    segment->range_end = attend->range_end;
    if (gqa__present(&attend->states.m)) {
        segment->m = (float *)attend->states.m.data + at;
        segment->l = (float *)attend->states.l.data + at;
        segment->o = (float *)attend->states.o.data + at * dv;
    }
    if (gqa__present(&attend->prior.m)) {
        segment->prior_m = (const float *)attend->prior.m.data + at;
        segment->prior_l = (const float *)attend->prior.l.data + at;
        segment->prior_o = (const float *)attend->prior.o.data + at * dv;
    }
}

static void make_segment(struct gqa__spine *spine, const struct gqa__token_run *run,
                         struct gqa__segment *segment)
{
    const struct gqa__call *const call = spine->call;
    const struct gqa__batch_entry *const entry = &spine->call->entries[run->b];
    const int64_t token = gqa__call_token(call, run->b, run->first);

    memset(segment, 0, sizeof *segment);
    if (call->append && call->in_blocks) {
        segment->view = call->views[run->b];
        segment->final_keys = segment->view.length;
        segment->view.length =
            call->two_pass ? segment->final_keys : index_of_run(call, run) + run->n;
    } else if (call->append) {
        gqa__view_cache(&segment->view, spine->cache, entry->sequence);
        segment->final_keys = entry->past + entry->n;
    } else {
        segment->view = call->views[run->b];
        segment->final_keys = segment->view.length;
    }
    segment->n = run->n;
    segment->positions = spine->positions + run->at;
    segment->q = gqa__place_values(&spine->at.q, run, &segment->q_type);
    segment->q_stride = gqa__place_step(&spine->at.q);
    segment->out = gqa__place_values(&spine->at.attn, run, &segment->out_type);
    segment->out_stride = gqa__place_step(&spine->at.attn);
    segment->stream = spine->at.attn_streams;
    segment->lse = gqa__place_vector(&spine->at.lse, run, 0);
    segment->sinks =
        call->attend.leave_out_sinks ? NULL : gqa__stage_sinks(call->params, entry->tkg);
    segment->entry = run->b;
    segment->column = run->first;
    segment->batch = run->tensor_b;
    segment->row0 = run->tensor_t;
    segment->mask = call->in.mask;
    segment->bias = call->in.bias;
    segment->active_mask = call->in.active_mask;
    segment->active_column = entry->columns;
    if (call->in.key_begin != NULL) {
        segment->key_begin = call->in.key_begin + token;
        segment->key_end = call->in.key_end + token;
    }
    add_attend(&call->attend, token * call->params->shape.hq, segment);
}

static void attend_block(struct gqa__spine *spine, int32_t runs)
{
    const struct gqa__call *const call = spine->call;
    gqa_work *const work = call->out.work != NULL ? &spine->work : NULL;
    struct gqa__health *const health = call->out.health != NULL ? spine->health : NULL;

    for (int32_t i = 0; i < runs; i++) {
        make_segment(spine, &spine->runs[i], &spine->segments[i]);
    }
    if (call->params->backend == GQA_BACKEND_NEURON) {
        gqa__neuron_spine_attend(spine, runs);
        spine->work.tiles = spine->neuron->report.tiles;
        spine->work.tiles_skipped = spine->neuron->report.tiles_skipped;
    } else if (call->params->backend == GQA_BACKEND_REFERENCE) {
        const struct gqa__reference_record record = {work, health};
        gqa__reference_attend(call->params, spine->segments, runs, spine->reference, &record);
    } else {
        const struct gqa__attention_record record = {
            work, call->in.trace != NULL ? &spine->trace : NULL, health};
        if (gqa__attention_run(spine->attention, call->params, spine->segments, runs, call->runtime,
                               &record) == GQA_CUT_KEYS) {
            spine->cut = GQA_CUT_KEYS;
        }
    }
}

/* Every block of the call, for what is asked for (GQA__MAKE_*). */
static void run_blocks(struct gqa__spine *spine, int makes)
{
    struct block_cursor cursor = {0, 0};
    int32_t runs;
    int32_t n;

    while ((n = next_block(spine, &cursor, &runs)) > 0) {
        gqa__block_before(spine, runs, n, makes);
        if (spine->call->out.health != NULL) {
            gqa__health_block(spine, runs, makes);
        }
        if ((makes & GQA__MAKE_KV) != 0) {
            append_block(spine, runs);
            if (spine->call->out.health != NULL) {
                gqa__health_appended(spine, runs);
            }
        }
        if ((makes & GQA__MAKE_Q) != 0) {
            attend_block(spine, runs);
            gqa__block_after(spine, runs, n);
        }
    }
}

/* Rings give back what the call's tokens cannot see, before anything is taken. */
static void release_pages(struct gqa__spine *spine)
{
    for (int32_t b = 0; b < spine->call->batch; b++) {
        const struct gqa__batch_entry *const entry = &spine->call->entries[b];
        if (entry->sequence >= 0 && entry->n > 0) {
            gqa__ring_release(spine->cache, entry->sequence, entry->lowest);
        }
    }
}

/* The padding on the right of an entry counts as columns too. */
static void close_columns(struct gqa__spine *spine)
{
    for (int32_t b = 0; b < spine->call->batch; b++) {
        const struct gqa__batch_entry *const entry = &spine->call->entries[b];
        if (entry->sequence >= 0) {
            gqa__cache_extend(spine->cache, entry->sequence, 0, NULL, NULL,
                              entry->columns + entry->tokens);
        }
    }
}

/* Multiply-adds of the matrices that the call takes its tokens through. */
static int64_t projection_madds(const struct gqa__spine *spine)
{
    const struct gqa__call *const call = spine->call;
    const struct gqa__shape *const shape = &call->params->shape;
    int64_t rows = 0; /* of all matrices with `hidden` on one side */
    int64_t tokens = 0;

    if (call->from_hidden) {
        rows += shape->q_rows + shape->gate_rows;
        rows += call->append ? shape->k_rows + shape->v_rows : 0;
    }
    rows += call->project ? shape->o_in : 0;
    for (int32_t b = 0; b < call->batch; b++) {
        tokens += spine->call->entries[b].sequence >= 0 ? spine->call->entries[b].n : 0;
    }
    return tokens * rows * shape->hidden;
}

gqa_status gqa__spine_check(struct gqa__spine *spine, gqa_error *err)
{
    return spine->call->params->backend == GQA_BACKEND_NEURON ? gqa__neuron_spine_check(spine, err)
                                                              : GQA_OK;
}

void gqa__spine_run(struct gqa__spine *spine)
{
    const struct gqa__call *const call = spine->call;
    const gqa__fpmode mode = gqa__fpmode_enter();

    if (call->append && !call->in_blocks) {
        release_pages(spine);
    }
    if (!call->append) {
        run_blocks(spine, GQA__MAKE_Q);
    } else if (call->two_pass) {
        run_blocks(spine, GQA__MAKE_KV);
        run_blocks(spine, GQA__MAKE_Q);
    } else {
        run_blocks(spine, GQA__MAKE_Q | GQA__MAKE_KV);
    }
    if (call->append && !call->in_blocks) {
        close_columns(spine);
    }
    spine->work.projection_madds = projection_madds(spine);
    gqa__fpmode_leave(mode);
}
