/* SPDX-License-Identifier: Apache-2.0 */
/* play_attend.c - one gqa_attend in both worlds. */
#include "play.h"

struct call {
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_block_kv blocks;
    int32_t b, t, k;
    bool plain; /* or blocks */
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

static const int32_t *rising(struct play *play, int32_t rows, int32_t n, int32_t start)
{
    int32_t *const to = scene_ints(&play->scene, (int64_t)rows * n);
    const int32_t step = take_below(&play->scene.in, 3);

    start = play->scene.hostile && some(play) ? take_odd_int(&play->scene.in) : start;
    for (int32_t i = 0; i < rows * n; i++) {
        to[i] = (int32_t)((uint32_t)start + (uint32_t)(i % n * step));
    }
    return to;
}

/* Keys (or values) in blocks, and their scales where they are int8. */
static void draw_block_tensor(struct play *play, gqa_tensor *t, gqa_tensor *scale, int32_t blocks,
                              int32_t size, int32_t dim)
{
    const bool int8 = some(play);

    *t = tensor(play, int8 ? GQA_I8 : scene_float(&play->scene), 4, blocks, play->hkv, size, dim);
    if (int8) {
        *scale = tensor(play, GQA_F32, 3, blocks, play->hkv, size, 1);
    }
    if (int8 && some(play)) { /* one for all tokens of a head */
        scale->stride[2] = 0;
    }
}

/* Keys in blocks of 16 or 32, of which some belong to two entries or to none. */
static void draw_blocks(struct play *play, struct call *call)
{
    gqa_block_kv *const kv = &call->blocks;
    const int32_t size = 16 << take_below(&play->scene.in, 2), most = call->k / size + 1;
    const int32_t blocks = most + take_below(&play->scene.in, 3);

    gqa_block_kv_init(kv);
    draw_block_tensor(play, &kv->key, &kv->key_scale, blocks, size, play->dk);
    draw_block_tensor(play, &kv->value, &kv->value_scale, blocks, size, play->dv);
    kv->block_table = numbers(play, (int64_t)call->b * most, blocks);
    kv->max_blocks = most;
    kv->lengths = numbers(play, call->b, call->k + 1);
    if (some(play)) {
        kv->position_ids = rising(play, call->b, most * size, 0);
    }
    if (play->scene.hostile && some(play)) {
        kv->max_blocks = take_below(&play->scene.in, most + 1);
    }
    scene_spoil_tensors(&play->scene, kv, offsetof(gqa_block_kv, key),
                        offsetof(gqa_block_kv, block_table));
    scene_spoil_tensors(&play->scene, kv, offsetof(gqa_block_kv, key_scale), sizeof *kv);
    call->in.blocks = kv;
}

static void draw_keys(struct play *play, struct call *call)
{
    gqa_attend_inputs *const in = &call->in;

    if (!call->plain) {
        if (play->sequences > 1 && some(play)) {
            in->sequences = numbers(play, call->b, play->sequences);
        }
        return;
    }
    if (take_rarely(&play->scene.in, 3)) {
        draw_blocks(play, call);
        return;
    }
    in->key = tensor(play, scene_float(&play->scene), 4, call->b, call->k, play->hkv, play->dk);
    in->value = tensor(play, scene_float(&play->scene), 4, call->b, call->k, play->hkv, play->dv);
    if (some(play)) {
        in->key_lengths = numbers(play, call->b, call->k + 1);
    }
    if (call->k > 0 && some(play)) {
        in->key_position_ids = rising(play, call->b, call->k, 0);
    }
}

static void draw_sight(struct play *play, struct call *call)
{
    static const gqa_dtype masks[] = {GQA_U8, GQA_BITS};
    gqa_attend_inputs *const in = &call->in;
    const int64_t b = some(play) ? call->b : 1, heads = some(play) ? play->hq : 1;
    const int64_t columns = call->plain ? call->k : play->columns + 3;

    if (b * heads * call->t * (columns + 8) * 4 > SCENE_LARGEST) {
        return;
    }
    if (some(play)) {
        in->mask = tensor(play, TAKE_OF(&play->scene.in, masks), 4, b, heads, call->t, columns);
    }
    if (some(play)) {
        in->bias = tensor(play, scene_float(&play->scene), 4, b, heads, call->t, columns);
    }
    if (take_rarely(&play->scene.in, 6)) {
        in->key_begin = numbers(play, (int64_t)call->b * call->t, (int32_t)columns + 1);
        in->key_end = numbers(play, (int64_t)call->b * call->t, (int32_t)columns + 1);
    }
}

static void draw_rows(struct play *play, struct call *call)
{
    gqa_attend_inputs *const in = &call->in;

    in->query = tensor(play, scene_float(&play->scene), 4, call->b, call->t, play->hq, play->dk);
    if (some(play)) {
        in->first_valid = numbers(play, call->b, call->t > 0 ? call->t : 1);
    }
    if (some(play)) {
        in->lengths = numbers(play, call->b, call->t + 1);
    }
    if (call->t > 0 && some(play)) {
        in->position_ids = rising(play, call->b, call->t, call->plain ? call->k : play->columns);
    }
    in->phase = (gqa_phase)take_below(&play->scene.in, 3);
    in->leave_out_sinks = some(play) ? 1 : 0;
    if (take_rarely(&play->scene.in, 6)) {
        in->range_begin = 256 * take_below(&play->scene.in, 3);
        in->range_end = in->range_begin + 256 * take_below(&play->scene.in, 3);
    }
    if (play->scene.hostile && take_rarely(&play->scene.in, 8)) {
        in->range_begin = take_odd_int(&play->scene.in);
        in->range_end = take_odd_int(&play->scene.in);
        in->phase = (gqa_phase)take_odd_int(&play->scene.in);
        in->leave_out_sinks = take_odd_int(&play->scene.in);
    }
}

static void draw_outputs(struct play *play, struct call *call)
{
    gqa_attend_output *const out = &call->out;

    if (some(play)) {
        out->states.m = tensor(play, GQA_F32, 3, call->b, call->t, play->hq, 0);
        out->states.l = tensor(play, GQA_F32, 3, call->b, call->t, play->hq, 0);
        out->states.o = tensor(play, GQA_F32, 4, call->b, call->t, play->hq, play->dv);
    }
    if (out->states.m.data == NULL || some(play)) {
        out->output =
            tensor(play, scene_float(&play->scene), 4, call->b, call->t, play->hq, play->dv);
    }
    if (some(play)) {
        out->lse = tensor(play, GQA_F32, 3, call->b, call->t, play->hq, 0);
    }
}

static gqa_attend_output twin_output(struct play *play, const gqa_attend_output *out)
{
    gqa_attend_output twin = *out;
    gqa_tensor *const tensors[] = {&twin.output, &twin.lse, &twin.states.m, &twin.states.l,
                                   &twin.states.o};

    for (int i = 0; i < 5; i++) {
        tensors[i]->data = scene_twin(&play->scene, tensors[i]->data);
    }
    return twin;
}

static void run(struct play *play, struct call *call)
{
    struct world *const first = &play->world[0], *const second = &play->world[1];
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    const struct before before = play_before(play);
    gqa_attend_output twin = twin_output(play, &call->out);
    gqa_status a, b;

    host_plan(&first->host, &play->scene.in, 3);
    a = gqa_attend(first->layer, call->plain ? NULL : first->cache, &call->in, &call->out, NULL, 0,
                   &err_a);
    if (!play_goes_on(play, &before, a)) {
        return;
    }
    b = gqa_attend(second->layer, call->plain ? NULL : second->cache, &call->in, &twin, NULL, 0,
                   &err_b);
    play_agree(play, &before, a, b, &err_a, &err_b);
    if (a == GQA_OK && call->out.states.m.data != NULL) {
        FUZZ_CHECK(call->out.states.key_begin == twin.states.key_begin);
        FUZZ_CHECK(call->out.states.key_end == twin.states.key_end);
    }
}

void play_attend(struct play *play)
{
    static const int32_t queries[] = {1, 1, 2, 3, 9, 0}, keys[] = {5, 33, 130, 1, 300, 600, 0};
    struct call call = {.b = take_below(&play->scene.in, 2) + 1,
                        .t = TAKE_OF(&play->scene.in, queries),
                        .k = TAKE_OF(&play->scene.in, keys)};

    call.plain = play->sequences == 0 || some(play);
    if (!call.plain && call.b > play->sequences) {
        call.b = play->sequences;
    }
    if ((int64_t)call.b * call.k * play->hkv * (play->dk + play->dv + 6) * 4 > SCENE_LARGEST) {
        call.k = 5;
    }
    gqa_attend_inputs_init(&call.in);
    gqa_attend_output_init(&call.out);
    draw_keys(play, &call);
    draw_rows(play, &call);
    draw_sight(play, &call);
    draw_outputs(play, &call);
    scene_spoil_tensors(&play->scene, &call.in, offsetof(gqa_attend_inputs, query),
                        offsetof(gqa_attend_inputs, key_lengths));
    scene_spoil_tensors(&play->scene, &call.in, offsetof(gqa_attend_inputs, mask),
                        offsetof(gqa_attend_inputs, key_begin));
    scene_spoil_tensors(&play->scene, &call.out, offsetof(gqa_attend_output, output),
                        offsetof(gqa_attend_output, states) + offsetof(gqa_states, key_begin));
    run(play, &call);
}
