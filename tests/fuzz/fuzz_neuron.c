/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_neuron.c - gqa_neuron_attention in every profile, and the maps of gqa/neuron_maps.h
 * (fuzz_neuron_maps.c). A call is made twice: plainly, and with threads, a trace or a lent
 * workspace. Status, result and counts must be the same; nothing may crash or leak. */
#include <string.h>

#include "fuzz_neuron.h"

/* --- a call ------------------------------------------------------------------------------------
 */

struct play {
    struct scene scene;
    gqa_neuron_call call;
    gqa_neuron_output out;
    int32_t batch, tokens, keys, prior, hq, hkv, dim;
    gqa_dtype io;
};

static bool some(struct play *play)
{
    return take_rarely(&play->scene.in, 3);
}

/* [batch, n, heads, dim] of the I/O type. */
static gqa_tensor heads(struct play *play, int32_t n, int32_t count)
{
    const int64_t shape[4] = {play->batch, n, count, play->dim};

    return scene_tensor(&play->scene, play->io, 4, shape);
}

static void draw_sizes(struct play *play)
{
    static const int32_t tokens[] = {1, 3, 17, 40, 128, 0, 130}, dims[] = {8, 5, 16, 33, 130};
    static const int32_t priors[] = {0, 1, 40, 130, 24};
    struct bytes *const in = &play->scene.in;

    play->io = some(play) ? GQA_F32 : GQA_BF16;
    play->batch = some(play) ? 2 : 1;
    play->hkv = take_below(in, 2) + 1;
    play->hq = play->hkv * (take_below(in, 3) + 1);
    play->tokens = TAKE_OF(in, tokens);
    play->dim = play->tokens < 128 ? TAKE_OF(in, dims) : 8;
    play->prior = TAKE_OF(in, priors);
    play->keys = play->tokens;
}

/* int32_t [n] in -1 .. below. */
static int32_t *near_range(struct play *play, int32_t n, int32_t below)
{
    int32_t *const numbers = scene_ints(&play->scene, n);

    for (int32_t i = 0; i < n; i++) {
        numbers[i] = (int32_t)(next_value(&play->scene.seed) >> 8) % (below + 2) - 1;
    }
    return numbers;
}

static gqa_tensor draw_mask(struct play *play, int32_t columns)
{
    const int64_t shape[4] = {some(play) ? 1 : play->batch, 1, play->tokens, columns};

    return scene_tensor(&play->scene, some(play) ? GQA_BITS : GQA_U8, 4, shape);
}

static void draw_flash(struct play *play)
{
    gqa_neuron_call *const call = &play->call;

    play->keys = call->lift_limits != 0 ? play->tokens + take_below(&play->scene.in, 3) : 512;
    play->dim = call->lift_limits != 0 ? play->dim : 8; /* less than a block may have */
    call->release = some(play) ? GQA_NEURON_2_26 : GQA_NEURON_NEWEST;
    call->scale = some(play) ? 0.3f : 0.0f;
    call->seq_tile = some(play) ? 128 * take_below(&play->scene.in, 5) : 0;
    call->attn_core_tile = take_below(&play->scene.in, 3);
    if (some(play) && call->release != GQA_NEURON_2_26) {
        call->windowed_context_encoding = 1;
        call->window = play->tokens;
        play->keys = 2 * play->tokens;
    }
}

static void draw_cte(struct play *play)
{
    gqa_neuron_call *const call = &play->call;
    struct bytes *const in = &play->scene.in;

    call->scale = some(play) ? 0.3f : 0.0f;
    call->softmax_scale = some(play) && call->scale == 0.0f ? 3.3f : 0.0f;
    call->bidirectional = some(play) ? 1 : 0;
    if (some(play)) {
        call->bound_min = near_range(play, play->tokens, play->keys);
        call->bound_max = near_range(play, play->tokens, play->keys);
    } else if (some(play)) {
        call->cp_degree = take_below(in, 4);
        call->cp_strided = some(play) ? 1 : 0;
        play->keys = play->tokens * (call->cp_degree > 0 ? call->cp_degree : 1);
        call->cp_offset = take_below(in, 4) * (call->cp_strided != 0 ? 1 : play->tokens);
    } else if (play->prior > 0) {
        call->k_prior = heads(play, play->prior, play->hkv);
        call->v_prior = heads(play, play->prior, play->hkv);
        call->prior_used = take_below(in, play->prior + 1);
    }
}

static void draw_native(struct play *play)
{
    gqa_neuron_call *const call = &play->call;

    call->softmax_scale = some(play) ? 3.3f : 0.0f;
    if (call->profile == GQA_NEURON_NATIVE_PREFILL) {
        call->mask = some(play) ? (gqa_tensor){0} : draw_mask(play, play->keys);
        return;
    }
    call->k_prior = heads(play, play->prior, play->hkv);
    call->v_prior = heads(play, play->prior, play->hkv);
    if (some(play)) {
        call->prior_mask = draw_mask(play, play->prior);
    }
    if (some(play)) {
        call->active_mask = draw_mask(play, play->tokens);
    }
}

static void draw_decoding(struct play *play)
{
    gqa_neuron_call *const call = &play->call;
    int32_t *const positions = scene_ints(&play->scene, (int64_t)play->batch * play->tokens);
    const int32_t first = take_below(&play->scene.in, play->prior + 2);

    call->ranks = take_below(&play->scene.in, 4) + 1;
    play->prior = call->lift_limits != 0 ? play->prior : play->prior / call->ranks * call->ranks;
    call->k_prior = heads(play, play->prior, play->hkv);
    call->v_prior = heads(play, play->prior, play->hkv);
    for (int32_t i = 0; i < play->batch * play->tokens; i++) {
        positions[i] = first + i % play->tokens;
    }
    call->positions = positions;
}

static void draw_paged(struct play *play)
{
    static const int32_t blocks[] = {32, 16, 1, 24}, q_tiles[] = {0, 128, 40}, kv[] = {512, 0, 96};
    gqa_neuron_call *const call = &play->call;
    struct bytes *const in = &play->scene.in;
    const int32_t block = TAKE_OF(in, blocks), pool = take_below(in, 12) + 1;
    const int64_t shape[4] = {pool, play->hkv, block, play->dim};
    int32_t *query_lens, *context_lens;

    play->batch = 1;
    call->requests = take_below(in, 4) + 1;
    call->block_table_width = take_below(in, 5) + 1;
    query_lens = scene_ints(&play->scene, call->requests);
    context_lens = scene_ints(&play->scene, call->requests);
    for (int32_t r = 0; r < call->requests; r++) {
        query_lens[r] = take_below(in, play->tokens / call->requests + 1);
        context_lens[r] = take_below(in, call->block_table_width * block + 1);
    }
    call->query_lens = query_lens;
    call->context_lens = context_lens;
    call->block_table = near_range(play, call->requests * call->block_table_width, pool - 2);
    for (int32_t i = 0; i < call->requests * call->block_table_width; i++) {
        ((int32_t *)(uintptr_t)call->block_table)[i] += play->scene.hostile ? 0 : 1;
    }
    call->k_cache = scene_tensor(&play->scene, play->io, 4, shape);
    call->v_cache = scene_tensor(&play->scene, play->io, 4, shape);
    call->q_tile = TAKE_OF(in, q_tiles);
    call->kv_tile = TAKE_OF(in, kv);
    call->row_order = some(play) ? 1 : 0;
    call->tiles_padded = some(play) ? take_below(in, 12) : 0;
    call->skip_value = some(play) ? take_below(in, 20) : 0;
    call->scale = some(play) ? 0.3f : 0.0f;
}

static void draw_call(struct play *play)
{
    gqa_neuron_call *const call = &play->call;
    struct bytes *const in = &play->scene.in;
    const int64_t hq = play->hq;

    call->profile = (gqa_neuron_profile)(take_below(in, 7) + 1);
    call->accumulation = (gqa_neuron_accumulation)(some(play) ? 1 : 0);
    if (call->profile != GQA_NEURON_FLASH_FWD && call->profile != GQA_NEURON_PAGED_SCHEDULE) {
        call->divisor = (gqa_neuron_divisor)(some(play) ? 1 : 0);
    }
    call->lift_limits = some(play) ? 0 : 1;
    if (call->profile <= GQA_NEURON_CTE && some(play)) {
        call->window = take_below(in, 140);
    }
    switch (call->profile) {
    case GQA_NEURON_FLASH_FWD:
        draw_flash(play);
        break;
    case GQA_NEURON_CTE:
        draw_cte(play);
        break;
    case GQA_NEURON_FLASH_DECODING:
        draw_decoding(play);
        break;
    case GQA_NEURON_PAGED_SCHEDULE:
        draw_paged(play);
        break;
    default:
        draw_native(play);
    }
    call->q = heads(play, play->tokens, play->hq);
    call->k = heads(play, play->keys, play->hkv);
    call->v = heads(play, play->keys, play->hkv);
    if (some(play)) {
        call->sinks = scene_tensor(&play->scene, scene_float(&play->scene), 1, &hq);
    }
    play->out.out = heads(play, play->tokens, play->hq);
    if ((call->profile <= GQA_NEURON_CTE || call->profile == GQA_NEURON_PAGED_SCHEDULE) &&
        some(play)) {
        play->out.q_scaled = heads(play, play->tokens, play->hq);
    }
    if (call->profile == GQA_NEURON_CTE && some(play)) {
        const int64_t shape[4] = {play->batch, hq, 128, (play->tokens + 127) / 128};
        play->out.neg_max = scene_tensor(&play->scene, GQA_F32, 4, shape);
        play->out.recip = scene_tensor(&play->scene, GQA_F32, 4, shape);
    }
}

/* Of each only what says nothing of an array's length. */
static void spoil_call(struct play *play)
{
    static const size_t numbers[] = {offsetof(gqa_neuron_call, profile),
                                     offsetof(gqa_neuron_call, release),
                                     offsetof(gqa_neuron_call, accumulation),
                                     offsetof(gqa_neuron_call, divisor),
                                     offsetof(gqa_neuron_call, lift_limits),
                                     offsetof(gqa_neuron_call, window),
                                     offsetof(gqa_neuron_call, right_window),
                                     offsetof(gqa_neuron_call, bidirectional),
                                     offsetof(gqa_neuron_call, seq_tile),
                                     offsetof(gqa_neuron_call, attn_core_tile),
                                     offsetof(gqa_neuron_call, prior_used),
                                     offsetof(gqa_neuron_call, cp_degree),
                                     offsetof(gqa_neuron_call, cp_offset),
                                     offsetof(gqa_neuron_call, cp_strided),
                                     offsetof(gqa_neuron_call, ranks),
                                     offsetof(gqa_neuron_call, q_tile),
                                     offsetof(gqa_neuron_call, kv_tile),
                                     offsetof(gqa_neuron_call, row_order),
                                     offsetof(gqa_neuron_call, tiles_padded),
                                     offsetof(gqa_neuron_call, skip_value),
                                     offsetof(gqa_neuron_call, windowed_context_encoding)};
    gqa_neuron_call *const call = &play->call;
    struct bytes *const in = &play->scene.in;

    if (!play->scene.hostile) {
        return;
    }
    while (take_rarely(in, 2)) {
        const int32_t value = take_odd_int(in);
        memcpy((unsigned char *)call + TAKE_OF(in, numbers), &value, sizeof value);
    }
    call->scale = some(play) ? (float)take_odd_number(in) : call->scale;
    call->softmax_scale = some(play) ? (float)take_odd_number(in) : call->softmax_scale;
    scene_spoil_tensors(&play->scene, call, offsetof(gqa_neuron_call, q),
                        offsetof(gqa_neuron_call, window));
    scene_spoil_tensors(&play->scene, &play->out, offsetof(gqa_neuron_output, out),
                        offsetof(gqa_neuron_output, tiles));
    if (call->q.rank < 2 || call->q.rank > 4 || call->q.shape[0] != play->batch ||
        call->q.shape[1] != play->tokens) { /* the arrays are as long as q says */
        call->bound_min = call->bound_max = call->positions = NULL;
    }
}

/* --- the calls ---------------------------------------------------------------------------------
 */

/* Reads all of it. */
static void read_tile(void *user, const gqa_neuron_tile *tile)
{
    const float *const rows[] = {tile->tile_max, tile->row_sum, tile->m, tile->l, tile->alpha};
    const float *const scores[] = {tile->s_raw, tile->s, tile->p};
    volatile float *const last = user;

    FUZZ_CHECK(tile->rows >= 0 && tile->rows <= 128 && tile->keys >= 0);
    for (int32_t r = 0; r < tile->rows; r++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            *last = rows[i] != NULL ? rows[i][r] : 0.0f;
        }
        for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
            for (int32_t k = 0; k < tile->keys && scores[i] != NULL; k++) {
                *last = scores[i][r * tile->score_step + k];
            }
        }
        for (int32_t d = 0; d < tile->dim && tile->o != NULL; d++) {
            *last = tile->o[(int64_t)r * tile->dim + d];
        }
    }
}

static gqa_status run_lent(struct play *play, const gqa_neuron_call *call, gqa_neuron_output *out,
                           const gqa_runtime *runtime, gqa_error *err)
{
    size_t size = 0;
    gqa_status status = gqa_neuron_workspace_size(call, out, runtime, &size, err);
    void *workspace;

    if (status != GQA_OK || size == 0 || size > 1 << 26) {
        return gqa_neuron_attention(call, out, runtime, NULL, 0, err);
    }
    workspace = aligned_alloc(64, (size + 63) / 64 * 64);
    FUZZ_CHECK(workspace != NULL);
    if (size > 64 && some(play)) {
        FUZZ_CHECK(gqa_neuron_attention(call, out, runtime, workspace, size - 64, err) != GQA_OK);
    }
    memset(workspace, 0xc5, size < 1 << 16 ? size : 1 << 16);
    status = gqa_neuron_attention(call, out, runtime, workspace, size, err);
    free(workspace);
    return status;
}

static void check_counts(const gqa_neuron_output *a, const gqa_neuron_output *b)
{
    FUZZ_CHECK(a->warning_count == b->warning_count && a->tiles == b->tiles);
    FUZZ_CHECK(a->tiles_skipped == b->tiles_skipped && a->hbm_bytes == b->hbm_bytes);
    FUZZ_CHECK(a->madds == b->madds && a->warning_count <= GQA_NEURON_WARNINGS_MAX);
    FUZZ_CHECK(memcmp(a->warnings, b->warnings, (size_t)a->warning_count * sizeof a->warnings[0]) ==
               0);
}

static void run(struct play *play)
{
    struct host first = {0}, second = {0};
    gqa_neuron_output twin = play->out;
    gqa_neuron_call call = play->call;
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    gqa_runtime runtime;
    volatile float last = 0;
    gqa_tensor *const outputs[] = {&twin.out, &twin.q_scaled, &twin.neg_max, &twin.recip};
    gqa_status a, b;

    for (int i = 0; i < 4; i++) {
        outputs[i]->data = scene_twin(&play->scene, outputs[i]->data);
    }
    host_runtime(&first, &runtime, 1);
    host_plan(&first, &play->scene.in, 2);
    a = gqa_neuron_attention(&play->call, &play->out, &runtime, NULL, 0, &err_a);
    FUZZ_CHECK(first.live == 0);
    FUZZ_CHECK(a == GQA_OK || (err_a.status == a && err_a.field != NULL));
    FUZZ_CHECK(a != GQA_ERR_NOMEM || first.refused || first.bent);
    if (a != GQA_OK && (first.refused || first.bent)) {
        return;
    }
    host_runtime(&second, &runtime, some(play) ? 1 : 3);
    if (some(play)) {
        call.trace = read_tile;
        call.trace_user = (void *)(uintptr_t)&last;
    }
    b = some(play) ? gqa_neuron_attention(&call, &twin, &runtime, NULL, 0, &err_b)
                   : run_lent(play, &call, &twin, &runtime, &err_b);
    FUZZ_CHECK(second.live == 0);
    if (a != b) {
        fprintf(stderr, "first: %s\nsecond: %s\n", a != GQA_OK ? err_a.message : "fine",
                b != GQA_OK ? err_b.message : "fine");
    }
    FUZZ_CHECK(a == b || (b == GQA_ERR_NOMEM && second.refused));
    if (b == GQA_OK) {
        check_counts(&play->out, &twin);
        FUZZ_CHECK(scene_twins_agree(&play->scene));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play; /* large */

    memset(&play, 0, sizeof play);
    scene_open(&play.scene, data, size);
    if (take_rarely(&play.scene.in, 4)) {
        while (play.scene.in.left > 0) {
            fuzz_neuron_map(&play.scene);
        }
    } else {
        gqa_neuron_call_init(&play.call);
        gqa_neuron_output_init(&play.out);
        draw_sizes(&play);
        draw_call(&play);
        spoil_call(&play);
        run(&play);
    }
    scene_close(&play.scene);
    return 0;
}
