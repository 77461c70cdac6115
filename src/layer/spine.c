/* SPDX-License-Identifier: Apache-2.0 */
/* spine.c - see call.h: walks a call in blocks of tokens, so that the workspace does not grow with
 * the call. Where a row may see later tokens of the call, K and V of all blocks are appended in a
 * first pass, and the queries follow in a second. */
#include <string.h>

#include "base/fpmode.h"
#include "base/memory.h"
#include "base/tensor.h"
#include "layer/residual.h"
#include "reference/reference.h"
#include "stage/stage.h"

/* Tokens of a block: enough rows for the projections, 20 MB at most; without projections more,
 * since threads meet at the end of each block and a head's keys stay in L2 from tile to tile. */
enum { TOKEN_BLOCK = 128, ATTENTION_BLOCK = 256 };

static int32_t block_tokens(const struct gqa__call *call)
{
    int32_t wanted = call->params->knobs.token_block;
    int64_t all = gqa__max(1, (int64_t)call->batch * call->tokens);

    if (wanted <= 0) {
        wanted = call->from_hidden || call->project ? TOKEN_BLOCK : ATTENTION_BLOCK;
    }
    return (int32_t)gqa__min(all, wanted);
}

/* The call's own cache: a page table over memory that holds exactly this call. */
static struct gqa_cache *carve_own_cache(const struct gqa__call *call, struct gqa__arena *arena)
{
    const struct gqa__params *params = call->params;
    struct gqa__cache_layout layout;
    gqa_cache_options options = {0};
    int32_t tokens = call->tokens > 0 ? call->tokens : 1;

    options.struct_size = sizeof options;
    options.max_sequences = call->batch > 0 ? call->batch : 1;
    options.max_tokens = tokens;
    options.page_size = 128;
    options.num_pages = (int64_t)options.max_sequences * ((tokens + 127) / 128);
    options.dtype_k = params->config.numerics == GQA_NUMERICS_BF16 ? GQA_BF16 : GQA_F32;
    options.dtype_v = options.dtype_k;
    if (gqa__cache_layout_init(&layout, params->kernels, params->shape.hkv, params->shape.dk,
                               params->shape.dv, &options, NULL) != GQA_OK) {
        arena->failed = true;
        return NULL;
    }
    return gqa__cache_carve(arena, &layout, &options);
}

static size_t projection_scratch(const struct gqa__params *params, int32_t tokens,
                                 const gqa_runtime *runtime)
{
    size_t size = gqa__stage_qkv_scratch(params, tokens, runtime);
    size_t oproj = gqa__stage_oproj_scratch(params, tokens, runtime);
    size_t gate =
        params->shape.gate_rows > 0 ? gqa__linear_scratch_bytes(&params->gate, tokens, runtime) : 0;

    size = size > oproj ? size : oproj;
    return size > gate ? size : gate;
}

/* Attention's memory: the walk's, or the reference's. */
static void carve_attention(struct gqa__spine *spine, struct gqa__arena *arena)
{
    const struct gqa__call *call = spine->call;
    int32_t keys = call->cache != NULL ? call->cache->max_tokens : call->tokens;

    spine->reference = NULL;
    spine->attention = NULL;
    if (call->params->backend == GQA_BACKEND_REFERENCE) {
        size_t size = gqa__reference_scratch_bytes(call->params, keys);
        arena->failed = arena->failed || size > INT64_MAX;
        spine->reference = gqa__arena_take(arena, size > INT64_MAX ? 0 : (int64_t)size, 1);
    } else {
        struct gqa__attention_limits limits = {spine->block, spine->block, keys,
                                               gqa__thread_count(call->runtime)};
        spine->attention = gqa__attention_carve(arena, call->params, &limits);
    }
}

/* f32 rows whose heads lie side by side. */
static bool in_place(const gqa_tensor *t, int64_t dim)
{
    return gqa__present(t) && t->dtype == GQA_F32 && t->stride[2] == dim;
}

/* The caller's q is what the scores see: no stage between changes it, and no tap asks for it. */
static bool q_in_place(const struct gqa__call *call)
{
    const gqa_config *config = &call->params->config;

    return !call->from_hidden && in_place(&call->in.q_proj, call->params->shape.dk) &&
           config->clip_qkv == 0.0f && config->qk_norm_scope == GQA_QK_NORM_OFF &&
           config->rope == GQA_ROPE_NONE &&
           config->query_temperature == GQA_QUERY_TEMPERATURE_NONE && call->in.tap == NULL;
}

/* The caller's k and v are what the cache keeps: as above, and nobody asks for a copy. */
static bool kv_in_place(const struct gqa__call *call)
{
    const gqa_config *config = &call->params->config;
    const gqa_tensor *v = gqa__call_v(call);

    return !call->from_hidden && in_place(&call->in.k_proj, call->params->shape.dk) &&
           in_place(v, call->params->shape.dv) && config->clip_qkv == 0.0f &&
           config->key_multiplier == 0.0f && config->v_scale == 0.0f &&
           config->qk_norm_scope == GQA_QK_NORM_OFF && config->v_norm == GQA_NORM_NONE &&
           config->rope == GQA_ROPE_NONE && !gqa__present(&call->out.present_key_value.k) &&
           !gqa__present(&call->out.present_key_value.v) && call->in.tap == NULL;
}

/* The attention's output is the call's: no gate and no projection follow, and no tap. */
static bool attn_in_place(const struct gqa__call *call)
{
    return in_place(&call->out.attn, call->params->shape.dv) && !call->project &&
           call->params->shape.gate_dim == 0 && call->in.tap == NULL;
}

/* q, k, v: the projection's rows as they are, or, where the layout or a tap asks for it, packed. */
static void carve_qkv(struct gqa__spine *spine, struct gqa__arena *arena)
{
    const struct gqa__call *call = spine->call;
    const struct gqa__shape *shape = &call->params->shape;
    int64_t q = (int64_t)shape->hq * shape->dk;
    int64_t k = (int64_t)shape->hkv * shape->dk;
    int64_t v = (int64_t)shape->hkv * shape->dv;
    int64_t n = spine->block;
    struct gqa__qkv *qkv = &spine->qkv;

    spine->clipped =
        call->from_hidden && call->in.tap == NULL && call->params->config.gate != GQA_GATE_Q_TAIL;
    qkv->gate = gqa__arena_take(arena, n * shape->hq * shape->gate_dim, sizeof(float));
    spine->whole_qkv = call->from_hidden && call->in.tap == NULL &&
                       gqa__stage_qkv_rows(call->params, spine->scratch, qkv);
    if (!spine->whole_qkv) {
        qkv->q =
            gqa__packed_heads(gqa__arena_take(arena, spine->direct_q ? 0 : n * q, sizeof(float)),
                              shape->hq, shape->dk);
        k = spine->direct_kv ? 0 : n * k;
        v = spine->direct_kv ? 0 : n * v;
        qkv->k = gqa__packed_heads(gqa__arena_take(arena, k, sizeof(float)), shape->hkv, shape->dk);
        qkv->v = gqa__packed_heads(gqa__arena_take(arena, v, sizeof(float)), shape->hkv, shape->dv);
    }
}

bool gqa__spine_carve(struct gqa__spine *spine, const struct gqa__call *call,
                      struct gqa__arena *arena)
{
    const struct gqa__shape *shape = &call->params->shape;
    int64_t n = block_tokens(call);
    int64_t hidden = call->need_sum || call->from_hidden || call->project ? shape->hidden : 0;
    int64_t pairs = call->params->rope.pairs;

    spine->call = call;
    spine->block = (int32_t)n;
    spine->rows = gqa__arena_take(arena, call->batch, sizeof *spine->rows);
    spine->runs = gqa__arena_take(arena, n, sizeof *spine->runs);
    spine->segments = gqa__arena_take(arena, n, sizeof *spine->segments);
    spine->positions = gqa__arena_take(arena, n, sizeof(int32_t));
    spine->rotary = gqa__arena_take(arena, n * shape->rope_axes, sizeof(int32_t));
    spine->columns = gqa__arena_take(arena, n, sizeof(int32_t));
    spine->freq = gqa__arena_take(arena, gqa__thread_count(call->runtime) * pairs, sizeof(double));
    spine->cos = gqa__arena_take(arena, n * pairs, sizeof(float));
    spine->sin = gqa__arena_take(arena, n * pairs, sizeof(float));
    spine->sum = gqa__arena_take(arena, n * hidden, sizeof(float));
    spine->x = gqa__arena_take(arena, n * hidden, sizeof(float));
    gqa__residual_place(spine);
    spine->direct_q = q_in_place(call);
    spine->direct_kv = kv_in_place(call);
    spine->direct_attn = attn_in_place(call);
    spine->attn =
        gqa__arena_take(arena, spine->direct_attn ? 0 : n * shape->hq * shape->dv, sizeof(float));
    spine->lse = gqa__arena_take(arena, n * shape->hq, sizeof(float));
    spine->scratch = NULL;
    if (shape->hidden > 0) {
        spine->scratch = gqa__arena_take(
            arena, (int64_t)projection_scratch(call->params, (int32_t)n, call->runtime), 1);
    }
    carve_qkv(spine, arena);
    spine->cache = call->cache != NULL ? call->cache : carve_own_cache(call, arena);
    carve_attention(spine, arena);
    spine->cut = GQA_CUT_ROWS;
    spine->work = (gqa_work){0};
    return !arena->failed;
}

int32_t gqa__call_position(const struct gqa__call *call, const struct gqa__batch_entry *row,
                           int32_t b, int32_t t)
{
    if (call->in.position_ids != NULL) {
        return call->in.position_ids[(int64_t)b * call->tokens + t];
    }
    if (!call->append) { /* the queries are the cache's last tokens */
        struct gqa__kv_view view;
        gqa__view_cache(&view, call->cache, row->sequence);
        return gqa__view_position(&view, row->past + (t - row->first_valid));
    }
    return row->next_position + (t - row->first_valid);
}

/* Where the next block starts: token `done` of batch row b. */
struct cursor {
    int32_t b, done;
};

/* Fill the next block with valid tokens, row after row. Returns its tokens; *runs counts. */
static int32_t next_block(struct gqa__spine *spine, struct cursor *cursor, int32_t *runs)
{
    int32_t n = 0;

    *runs = 0;
    while (cursor->b < spine->call->batch && n < spine->block) {
        const struct gqa__batch_entry *row = &spine->rows[cursor->b];
        int32_t left = row->n - cursor->done;
        int32_t take = left < spine->block - n ? left : spine->block - n;

        if (take > 0) {
            struct gqa__token_run *run = &spine->runs[(*runs)++];
            run->b = cursor->b;
            run->first = row->first_valid + cursor->done;
            run->n = take;
            run->at = n;
            for (int32_t t = 0; t < take; t++) {
                spine->positions[n + t] =
                    gqa__call_position(spine->call, row, cursor->b, run->first + t);
            }
            n += take;
            cursor->done += take;
        }
        if (cursor->done == row->n) {
            cursor->b++;
            cursor->done = 0;
        }
    }
    return n;
}

/* One (run, KV head) of a block's append. */
static void write_head(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__spine *spine = arg;
    const struct gqa__shape *shape = &spine->call->params->shape;
    const struct gqa__token_run *run = &spine->runs[item / shape->hkv];
    int32_t sequence = spine->rows[run->b].sequence;
    int32_t head = (int32_t)(item % shape->hkv);
    int64_t k_step = spine->qkv.k.step, v_step = spine->qkv.v.step;
    int32_t first = spine->cache->sequences[sequence].length - run->n;
    const float *k, *v; /* [n][hkv][d] of the run */

    (void)slot;
    if (spine->direct_kv) {
        k = gqa__token_row(&spine->call->in.k_proj, run, 0);
        v = gqa__token_row(gqa__call_v(spine->call), run, 0);
        k_step = spine->call->in.k_proj.stride[1];
        v_step = gqa__call_v(spine->call)->stride[1];
    } else {
        k = spine->qkv.k.x + run->at * k_step;
        v = spine->qkv.v.x + run->at * v_step;
    }
    gqa__cache_write(spine->cache, sequence, head, first, run->n, k + (int64_t)head * shape->dk,
                     k_step, v + (int64_t)head * shape->dv, v_step);
}

static void append_block(struct gqa__spine *spine, int32_t runs)
{
    struct gqa__tasks tasks = {write_head, spine, (int64_t)runs * spine->call->params->shape.hkv};

    for (int32_t i = 0; i < runs; i++) {
        const struct gqa__token_run *run = &spine->runs[i];
        const struct gqa__batch_entry *row = &spine->rows[run->b];
        for (int32_t t = 0; t < run->n; t++) {
            spine->columns[run->at + t] = row->columns + run->first + t;
        }
        gqa__cache_extend(spine->cache, row->sequence, run->n, spine->positions + run->at,
                          spine->columns + run->at, row->columns + run->first + run->n);
    }
    gqa__run_tasks(spine->call->runtime, &tasks);
}

static void make_segment(struct gqa__spine *spine, const struct gqa__token_run *run,
                         struct gqa__segment *segment)
{
    const struct gqa__call *call = spine->call;
    const struct gqa__shape *shape = &call->params->shape;
    const struct gqa__batch_entry *row = &spine->rows[run->b];
    int64_t bounds = (int64_t)run->b * call->tokens + run->first;

    memset(segment, 0, sizeof *segment);
    gqa__view_cache(&segment->view, spine->cache, row->sequence);
    segment->final_keys = call->append ? row->past + row->n : segment->view.length;
    segment->n = run->n;
    segment->positions = spine->positions + run->at;
    segment->q_stride = spine->qkv.q.step;
    segment->q = spine->qkv.q.x + run->at * segment->q_stride;
    if (spine->direct_q) {
        segment->q_stride = call->in.q_proj.stride[1];
        segment->q = gqa__token_row(&call->in.q_proj, run, 0);
    }
    segment->out_stride = (int64_t)shape->hq * shape->dv;
    segment->out = spine->attn + run->at * segment->out_stride;
    if (spine->direct_attn) {
        segment->out_stride = call->out.attn.stride[1];
        segment->out = gqa__token_row(&call->out.attn, run, 0);
        segment->stream =
            (int64_t)call->batch * call->tokens * segment->out_stride > GQA__STREAM_VALUES;
    }
    segment->lse = gqa__present(&call->out.lse) ? spine->lse + (int64_t)run->at * shape->hq : NULL;
    segment->sinks = gqa__stage_sinks(call->params, row->tkg);
    segment->batch = run->b;
    segment->row0 = run->first;
    segment->mask = call->in.mask;
    segment->bias = call->in.bias;
    segment->active_mask = call->in.active_mask;
    segment->active_column = row->columns;
    if (call->in.key_begin != NULL) {
        segment->key_begin = call->in.key_begin + bounds;
        segment->key_end = call->in.key_end + bounds;
    }
}

static void attend_block(struct gqa__spine *spine, int32_t runs)
{
    const struct gqa__call *call = spine->call;
    gqa_work *work = call->out.work != NULL ? &spine->work : NULL;

    for (int32_t i = 0; i < runs; i++) {
        make_segment(spine, &spine->runs[i], &spine->segments[i]);
    }
    if (call->params->backend == GQA_BACKEND_REFERENCE) {
        gqa__reference_attend(call->params, spine->segments, runs, spine->reference, work);
    } else if (gqa__attention_run(spine->attention, call->params, spine->segments, runs,
                                  call->runtime, work) == GQA_CUT_KEYS) {
        spine->cut = GQA_CUT_KEYS;
    }
}

/* Every block of the call through the given parts of the pipeline. */
static void run_blocks(struct gqa__spine *spine, int parts)
{
    struct cursor cursor = {0, 0};
    int32_t runs;
    int32_t n;

    while ((n = next_block(spine, &cursor, &runs)) > 0) {
        gqa__block_before(spine, runs, n, parts);
        if ((parts & GQA__PART_KV) != 0) {
            append_block(spine, runs);
        }
        if ((parts & GQA__PART_Q) != 0) {
            attend_block(spine, runs);
            gqa__block_after(spine, runs, n);
        }
    }
}

/* The padding on the right of a row counts as columns too. */
static void close_columns(struct gqa__spine *spine)
{
    for (int32_t b = 0; b < spine->call->batch; b++) {
        const struct gqa__batch_entry *row = &spine->rows[b];
        if (row->sequence >= 0) {
            gqa__cache_extend(spine->cache, row->sequence, 0, NULL, NULL,
                              row->columns + spine->call->tokens);
        }
    }
}

/* Multiply-adds of the matrices that the call takes its tokens through. */
static int64_t projection_madds(const struct gqa__spine *spine)
{
    const struct gqa__call *call = spine->call;
    const struct gqa__shape *shape = &call->params->shape;
    int64_t rows = 0; /* of all matrices with `hidden` on one side */
    int64_t tokens = 0;

    if (call->from_hidden) {
        rows += shape->q_rows + shape->gate_rows;
        rows += call->append ? shape->k_rows + shape->v_rows : 0;
    }
    rows += call->project ? shape->o_in : 0;
    for (int32_t b = 0; b < call->batch; b++) {
        tokens += spine->rows[b].sequence >= 0 ? spine->rows[b].n : 0;
    }
    return tokens * rows * shape->hidden;
}

void gqa__spine_run(struct gqa__spine *spine)
{
    const struct gqa__call *call = spine->call;
    gqa__fpmode mode = gqa__fpmode_enter();

    if (!call->append) {
        run_blocks(spine, GQA__PART_Q);
    } else if (call->two_pass) {
        run_blocks(spine, GQA__PART_KV);
        run_blocks(spine, GQA__PART_Q);
    } else {
        run_blocks(spine, GQA__PART_Q | GQA__PART_KV);
    }
    if (call->append) {
        close_columns(spine);
    }
    spine->work.projection_madds = projection_madds(spine);
    gqa__fpmode_leave(mode);
}
