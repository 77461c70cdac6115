/* SPDX-License-Identifier: Apache-2.0 */
/* play_forward.c - one gqa_forward in both worlds. */
#include <string.h>

#include "play.h"

struct call {
    gqa_inputs in;
    gqa_output out;
    int32_t b, t;
    int64_t k; /* columns of masks */
    bool in_place;
};

static bool some(struct play *play)
{
    return take_rarely(&play->scene.in, 3);
}

static gqa_tensor tensor(struct play *play, gqa_dtype dtype, int32_t rank, int64_t a, int64_t b,
                         int64_t c, int64_t d)
{
    const int64_t shape[] = {a, b, c, d};

    return scene_tensor(&play->scene, dtype, rank, shape);
}

/* --- inputs ------------------------------------------------------------------------------------
 */

static void draw_source(struct play *play, struct call *call)
{
    const gqa_config *const g = &play->scene.config;
    gqa_inputs *const in = &call->in;

    if (play->hidden > 0 && !take_rarely(&play->scene.in, 4)) {
        in->hidden_states =
            tensor(play, scene_float(&play->scene), 3, call->b, call->t, play->hidden, 0);
        if (some(play)) {
            in->residual =
                tensor(play, scene_float(&play->scene), 3, call->b, call->t, play->hidden, 0);
        }
        return;
    }
    in->q_proj = tensor(play, scene_float(&play->scene), 4, call->b, call->t, play->hq, play->dk);
    if (!take_rarely(&play->scene.in, 6)) {
        in->k_proj =
            tensor(play, scene_float(&play->scene), 4, call->b, call->t, play->hkv, play->dk);
        if (g->k_eq_v == 0) {
            in->v_proj =
                tensor(play, scene_float(&play->scene), 4, call->b, call->t, play->hkv, play->dv);
        }
    }
    if (g->gate != GQA_GATE_NONE) {
        in->gate_proj = tensor(play, scene_float(&play->scene), 4, call->b, call->t, play->hq,
                               g->gate == GQA_GATE_HEAD ? 1 : play->dv);
    }
}

/* n numbers below limit, or, in hostile scenes, now and then anything. */
static const int32_t *numbers(struct play *play, int64_t n, int32_t limit)
{
    int32_t *const to = scene_ints(&play->scene, n);

    for (int64_t i = 0; i < n; i++) {
        to[i] = take_below(&play->scene.in, limit);
        if (play->scene.hostile && take_rarely(&play->scene.in, 16)) {
            to[i] = take_odd_int(&play->scene.in);
        }
    }
    return to;
}

/* Rising from a start, or not. */
static const int32_t *positions(struct play *play, const struct call *call)
{
    const bool far = play->scene.hostile && some(play);
    const int32_t start = far ? take_odd_int(&play->scene.in) : play->columns;
    const int32_t step = take_below(&play->scene.in, 3);
    int32_t *const to = scene_ints(&play->scene, (int64_t)call->b * call->t);

    for (int32_t b = 0; b < call->b; b++) {
        for (int32_t t = 0; t < call->t; t++) {
            to[b * call->t + t] = (int32_t)((uint32_t)start + (uint32_t)(t * step));
        }
    }
    return to;
}

static void draw_tokens(struct play *play, struct call *call)
{
    gqa_inputs *const in = &call->in;

    if (play->sequences > 1 && some(play)) {
        int32_t *const to = scene_ints(&play->scene, call->b);
        const int32_t first = take_below(&play->scene.in, play->sequences);
        for (int32_t b = 0; b < call->b; b++) {
            to[b] = (first + b) % play->sequences;
            to[b] = take_rarely(&play->scene.in, 8) ? -1 : to[b];
        }
        in->sequences = play->scene.hostile && some(play) ? numbers(play, call->b, 4) : to;
    }
    if (some(play)) {
        in->first_valid = numbers(play, call->b, call->t > 0 ? call->t : 1);
    }
    if (some(play)) {
        in->lengths = numbers(play, call->b, call->t + 1);
    }
    if (some(play)) {
        in->position_ids = positions(play, call);
    }
    if (play->scene.config.rope != GQA_ROPE_NONE && some(play)) {
        const int64_t axes = play->scene.config.mrope != GQA_MROPE_NONE ? 4 : 1;
        in->rotary_position_ids = numbers(play, axes * call->b * call->t, 200);
    }
    if (some(play)) {
        in->rope_length = play->scene.hostile ? take_odd_int(&play->scene.in) : 64;
    }
    in->phase = (gqa_phase)take_below(&play->scene.in, 3);
    in->borrow_cache = play->sequences > 0 && take_rarely(&play->scene.in, 8) ? 1 : 0;
    if (play->scene.hostile && take_rarely(&play->scene.in, 16)) {
        in->phase = (gqa_phase)take_odd_int(&play->scene.in);
        in->borrow_cache = take_odd_int(&play->scene.in);
    }
}

static void draw_sight(struct play *play, struct call *call)
{
    static const gqa_dtype masks[] = {GQA_U8, GQA_BITS};
    gqa_inputs *const in = &call->in;
    const int64_t b = some(play) ? call->b : 1, heads = some(play) ? play->hq : 1;

    if (b * heads * call->t * (call->k + 8) * 4 > SCENE_LARGEST) {
        return;
    }
    if (some(play)) {
        in->mask = tensor(play, TAKE_OF(&play->scene.in, masks), 4, b, heads, call->t, call->k);
    }
    if (some(play)) {
        in->bias = tensor(play, scene_float(&play->scene), 4, b, heads, call->t, call->k);
    }
    if (some(play)) {
        in->active_mask = tensor(play, TAKE_OF(&play->scene.in, masks), 3, b, call->t, call->t, 0);
    }
    if (take_rarely(&play->scene.in, 6)) {
        in->key_begin = numbers(play, (int64_t)call->b * call->t, (int32_t)call->k + 1);
        in->key_end = numbers(play, (int64_t)call->b * call->t, (int32_t)call->k + 1);
    }
}

static void draw_tables(struct play *play, struct call *call)
{
    const gqa_config *const g = &play->scene.config;
    const int64_t pairs = (g->rotary_dim != 0 ? g->rotary_dim : play->dk) / 2;

    if (g->rope == GQA_ROPE_NONE) {
        return;
    }
    if (take_rarely(&play->scene.in, 6)) {
        call->in.cos_cache = tensor(play, GQA_F32, 3, call->b, call->t, pairs, 0);
        call->in.sin_cache = tensor(play, GQA_F32, 3, call->b, call->t, pairs, 0);
        call->in.rope_key = gqa_layer_rope_key(play->world[0].layer);
        call->in.rope_key += play->scene.hostile && some(play) ? 1 : 0;
    }
    if (some(play)) {
        call->out.cos_cache = tensor(play, GQA_F32, 3, call->b, call->t, pairs, 0);
        call->out.sin_cache = tensor(play, GQA_F32, 3, call->b, call->t, pairs, 0);
    }
}

static void draw_outputs(struct play *play, struct call *call)
{
    gqa_output *const out = &call->out;
    struct scene *const scene = &play->scene;

    if (play->hidden > 0 && !some(play)) {
        const gqa_tensor *const x = &call->in.hidden_states;
        call->in_place =
            !scene->hostile && x->data != NULL && x->stride[1] == play->hidden && some(play);
        out->hidden_states = tensor(play, call->in_place ? x->dtype : scene_float(scene), 3,
                                    call->b, call->t, play->hidden, 0);
        call->in_place = call->in_place && out->hidden_states.stride[1] == play->hidden;
    }
    if (out->hidden_states.data == NULL || some(play)) {
        out->attn = tensor(play, scene_float(scene), 4, call->b, call->t, play->hq, play->dv);
    }
    if (some(play)) {
        out->lse = tensor(play, GQA_F32, 3, call->b, call->t, play->hq, 0);
    }
    if (call->in.hidden_states.data != NULL && some(play)) {
        out->residual = tensor(play, scene_float(scene), 3, call->b, call->t, play->hidden, 0);
    }
    if (some(play)) {
        out->present_key_value.k =
            tensor(play, scene_float(scene), 4, call->b, play->hkv, call->t, play->dk);
        out->present_key_value.v =
            tensor(play, scene_float(scene), 4, call->b, play->hkv, call->t, play->dv);
    }
}

static void spoil(struct play *play, struct call *call)
{
    struct scene *const scene = &play->scene;

    scene_spoil_tensors(scene, &call->in, offsetof(gqa_inputs, hidden_states),
                        offsetof(gqa_inputs, sequences));
    scene_spoil_tensors(scene, &call->in, offsetof(gqa_inputs, mask),
                        offsetof(gqa_inputs, key_begin));
    scene_spoil_tensors(scene, &call->out, offsetof(gqa_output, hidden_states),
                        offsetof(gqa_output, rope_key));
}

/* --- the calls ---------------------------------------------------------------------------------
 */

/* Reads all of it. */
static void tap(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *seen)
{
    const float *const values = seen->data;
    int64_t n = 1;
    volatile float *const last = user;

    FUZZ_CHECK(stage >= 0 && stage < GQA_STAGE_COUNT && b >= 0 && first >= 0);
    for (int32_t i = 0; i < seen->rank; i++) {
        n *= seen->shape[i];
    }
    for (int64_t i = 0; i < n; i++) {
        *last = values[i];
    }
}

/* Reads all of it. */
static void trace_tile(void *user, const gqa_tile *tile)
{
    volatile float *const last = user;

    FUZZ_CHECK(tile->rows > 0 && tile->keys > 0 && tile->key >= 0);
    for (int32_t r = 0; r < tile->rows && tile->m != NULL; r++) {
        FUZZ_CHECK(tile->seen_begin[r] >= 0 && tile->seen_begin[r] <= tile->seen_end[r] &&
                   tile->seen_end[r] <= tile->keys);
        *last = tile->m[r] + tile->l[r];
    }
}

static void twin_tensor(struct play *play, gqa_tensor *t)
{
    t->data = scene_twin(&play->scene, t->data);
}

static size_t hidden_bytes(const struct play *play, const struct call *call)
{
    return (size_t)call->b * (size_t)call->t * (size_t)play->hidden *
           (call->in.hidden_states.dtype == GQA_F32 ? 4 : 2);
}

static struct call twin_call(struct play *play, const struct call *call)
{
    struct call twin = *call;

    twin_tensor(play, &twin.out.hidden_states);
    twin_tensor(play, &twin.out.present_key_value.k);
    twin_tensor(play, &twin.out.present_key_value.v);
    twin_tensor(play, &twin.out.cos_cache);
    twin_tensor(play, &twin.out.sin_cache);
    twin_tensor(play, &twin.out.residual);
    twin_tensor(play, &twin.out.attn);
    twin_tensor(play, &twin.out.lse);
    if (call->in_place) {
        const size_t size = hidden_bytes(play, call);
        void *const both = scene_memory(&play->scene, size);
        memcpy(both, call->in.hidden_states.data, size);
        twin.in.hidden_states.data = twin.out.hidden_states.data = both;
    }
    return twin;
}

/* World 1 lends the workspace that it asks for; one that is too small is refused. */
static gqa_status forward_lent(struct play *play, struct call *call, gqa_error *err)
{
    struct world *const world = &play->world[1];
    size_t size = 0;
    void *workspace;
    gqa_status status =
        gqa_workspace_size(world->layer, world->cache, &call->in, &call->out, &size, err);

    if (status != GQA_OK || size > 1 << 26) {
        return gqa_forward(world->layer, world->cache, &call->in, &call->out, NULL, 0, err);
    }
    workspace = aligned_alloc(64, (size + 64) / 64 * 64);
    FUZZ_CHECK(workspace != NULL);
    if (size > 64 && some(play)) {
        FUZZ_CHECK(gqa_forward(world->layer, world->cache, &call->in, &call->out, workspace,
                               size - 64, err) != GQA_OK);
    }
    memset(workspace, 0xc5, size < 1 << 16 ? size : 1 << 16);
    status = gqa_forward(world->layer, world->cache, &call->in, &call->out, workspace, size, err);
    free(workspace);
    return status;
}

static void compare_in_place(struct play *play, const struct call *call, const struct call *twin)
{
    const size_t size = hidden_bytes(play, call);

    if (play->same_bits) {
        FUZZ_CHECK(memcmp(call->out.hidden_states.data, twin->out.hidden_states.data, size) == 0);
    }
    memcpy(scene_twin(&play->scene, call->out.hidden_states.data), call->out.hidden_states.data,
           size); /* nobody wrote there */
}

static void run(struct play *play, struct call *call)
{
    struct world *const first = &play->world[0];
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    const struct before before = play_before(play);
    struct call twin = play->twin ? twin_call(play, call) : *call;
    gqa_neuron_report reports[2];
    volatile float last = 0;
    size_t size;
    gqa_status a, b;

    if (play->scene.config.backend == GQA_BACKEND_NEURON) {
        gqa_neuron_report_init(&reports[0]);
        gqa_neuron_report_init(&reports[1]);
        call->out.neuron = &reports[0];
        twin.out.neuron = &reports[1];
    }
    a = gqa_workspace_size(first->layer, first->cache, &call->in, &call->out, &size, &err_a);
    host_plan(&first->host, &play->scene.in, 3);
    b = gqa_forward(first->layer, first->cache, &call->in, &call->out, NULL, 0, &err_a);
    FUZZ_CHECK(a == GQA_OK || b != GQA_OK);
    a = b;
    if (!play_goes_on(play, &before, a)) {
        return;
    }
    if (some(play)) {
        twin.in.tap = tap;
        twin.in.tap_user = (void *)(uintptr_t)&last;
        if (play->scene.config.backend == GQA_BACKEND_CPU) {
            twin.in.trace = trace_tile;
            twin.in.trace_user = (void *)(uintptr_t)&last;
        }
    }
    if (some(play)) {
        struct world *const world = &play->world[1];
        b = gqa_forward(world->layer, world->cache, &twin.in, &twin.out, NULL, 0, &err_b);
    } else {
        b = forward_lent(play, &twin, &err_b);
    }
    if (call->in_place && b == GQA_OK) {
        compare_in_place(play, call, &twin);
    }
    play_agree(play, &before, a, b, &err_a, &err_b);
    FUZZ_CHECK(a != GQA_OK || call->out.rope_key == twin.out.rope_key);
    FUZZ_CHECK(a != GQA_OK || b != GQA_OK || call->out.neuron == NULL ||
               memcmp(&reports[0], &reports[1], sizeof reports[0]) == 0);
}

void play_forward(struct play *play)
{
    static const int32_t lengths[] = {1, 1, 2, 3, 7, 17, 40, 0};
    struct call call = {.b = take_below(&play->scene.in, 3) + 1,
                        .t = TAKE_OF(&play->scene.in, lengths)};

    if (play->sequences > 0 && call.b > play->sequences) {
        call.b = play->sequences;
    }
    gqa_inputs_init(&call.in);
    gqa_output_init(&call.out);
    call.k = play->columns + call.t + (some(play) ? 5 : 0);
    draw_source(play, &call);
    draw_tokens(play, &call);
    draw_sight(play, &call);
    draw_outputs(play, &call);
    draw_tables(play, &call);
    spoil(play, &call);
    run(play, &call);
    play->columns += call.t;
}
