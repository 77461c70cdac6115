/* SPDX-License-Identifier: Apache-2.0 */
/* play_stages.c - one call of gqa/stage.h, gqa_convert or gqa_rope_frequencies in both worlds. */
#include "play.h"

enum { TENSORS = 5 };

struct call {
    int32_t which, n;
    gqa_tensor tensor[TENSORS]; /* data NULL = NULL is passed */
    const int32_t *positions;
    int32_t axes, length;
    gqa_qk_norm_placement placement;
};

static gqa_tensor packed(struct play *play, int32_t rank, int64_t a, int64_t b, int64_t c)
{
    const int64_t n = a * b * c;
    gqa_tensor t = scene_tensor(&play->scene, GQA_F32, 1, &n);
    const gqa_tensor shaped = gqa_tensor_3d(t.data, GQA_F32, a, b, c);

    if (rank == 2) {
        t = gqa_tensor_2d(t.data, GQA_F32, a, b);
        return t;
    }
    return shaped;
}

/* A spoilt tensor may have more tokens than were drawn, with memory for them: positions, too. */
static void lengthen_positions(struct play *play, struct call *call)
{
    const int64_t tokens = call->tensor[0].shape[0], given = 4 * (int64_t)call->n;

    if ((call->which != 4 && call->which != 6) || tokens <= call->n) {
        return;
    }
    if (tokens > SCENE_LARGEST / 4 / (int64_t)sizeof(int32_t)) {
        call->tensor[0].data = NULL; /* refused */
        return;
    }
    int32_t *const longer = scene_ints(&play->scene, 4 * tokens);
    for (int64_t i = 0; i < 4 * tokens; i++) {
        longer[i] = i < given ? call->positions[i] : (int32_t)i;
    }
    call->positions = longer;
}

static void draw(struct play *play, struct call *call)
{
    const gqa_config *const g = &play->scene.config;
    const int64_t pairs = (g->rotary_dim != 0 ? g->rotary_dim : play->dk) / 2;
    const int64_t gate = g->gate == GQA_GATE_HEAD ? 1 : play->dv;
    struct bytes *const in = &play->scene.in;
    int32_t *positions;

    call->which = take_below(in, 12);
    call->n = take_below(in, 20);
    call->axes = g->mrope != GQA_MROPE_NONE ? (g->mrope_sections[3] != 0 ? 4 : 3) : 1;
    call->length = play->scene.hostile && take_rarely(in, 2) ? take_odd_int(in) : 0;
    call->placement = (gqa_qk_norm_placement)take_below(in, 2);
    positions = scene_ints(&play->scene, (int64_t)call->n * 4);
    for (int32_t i = 0; i < 4 * call->n; i++) {
        positions[i] = play->scene.hostile && take_rarely(in, 4) ? take_odd_int(in) : i;
    }
    call->positions = positions;
    switch (call->which) {
    case 0:
    case 9: /* input norm; output */
        for (int i = 0; i < 4; i++) {
            call->tensor[i] = packed(play, 2, call->n, play->hidden, 1);
        }
        break;
    case 1: /* qkv */
        call->tensor[4] = packed(play, 2, call->n, play->hidden, 1);
        /* fall through */
    case 2:
    case 3: /* clip, q/k norm */
        call->tensor[0] = packed(play, 3, call->n, play->hq, play->dk);
        call->tensor[1] = packed(play, 3, call->n, play->hkv, play->dk);
        call->tensor[2] = packed(play, 3, call->n, play->hkv, play->dv);
        if (g->gate != GQA_GATE_NONE) {
            call->tensor[3] = packed(play, 3, call->n, play->hq, gate);
        }
        break;
    case 4:
    case 5: /* tables, rotation */
        call->tensor[0] = packed(play, 2, call->n, pairs, 1);
        call->tensor[1] = packed(play, 2, call->n, pairs, 1);
        call->tensor[2] = packed(play, 3, call->n, play->hq, play->dk);
        break;
    case 6: /* temperature */
        call->tensor[0] = packed(play, 3, call->n, play->hq, play->dk);
        break;
    case 7:
    case 8: /* gate, output projection */
        call->tensor[0] = packed(play, 3, call->n, play->hq, play->dv);
        call->tensor[1] = call->which == 7 ? packed(play, 3, call->n, play->hq, gate)
                                           : packed(play, 2, call->n, play->hidden, 1);
        break;
    default: { /* convert, frequencies */
        const int64_t shape[] = {call->n, 3, pairs};
        call->tensor[0] = scene_tensor(&play->scene, scene_float(&play->scene), 3, shape);
        call->tensor[1] = scene_tensor(&play->scene, scene_float(&play->scene), 3, shape);
        call->tensor[2] = packed(play, 2, 256, 2, 1); /* doubles */
    }
    }
    if (call->which < 11) {
        scene_spoil_tensors(&play->scene, call, offsetof(struct call, tensor),
                            offsetof(struct call, tensor) + 3 * sizeof(gqa_tensor));
        lengthen_positions(play, call);
    }
}

static gqa_status run(const gqa_layer *layer, const struct call *call, gqa_error *err)
{
    const gqa_tensor *t[TENSORS];

    for (int i = 0; i < TENSORS; i++) {
        t[i] = call->tensor[i].data != NULL ? &call->tensor[i] : NULL;
    }
    switch (call->which) {
    case 0:
        return gqa_stage_input_norm(layer, t[0], t[1], t[2], t[3], err);
    case 1:
        return gqa_stage_qkv(layer, t[4], t[0], t[1], t[2], t[3], err);
    case 2:
        return gqa_stage_clip(layer, t[0], t[1], t[2], err);
    case 3:
        return gqa_stage_qk_norm(layer, call->placement, t[0], t[1], err);
    case 4:
        return gqa_stage_rope_table(layer, call->positions, call->axes, call->length, t[0], t[1],
                                    err);
    case 5:
        return gqa_stage_rope(layer, t[0], t[1], t[2], err);
    case 6:
        return gqa_stage_query_temperature(layer, call->positions, t[0], err);
    case 7:
        return gqa_stage_gate(layer, t[1], t[0], err);
    case 8:
        return gqa_stage_output_projection(layer, t[0], t[1], err);
    case 9:
        return gqa_stage_output(layer, t[0], t[1], t[2], err);
    case 10:
        return gqa_convert(t[0], t[1], err);
    default:
        return gqa_rope_frequencies(layer, call->length, call->tensor[2].data, NULL, err);
    }
}

void play_stage(struct play *play)
{
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    const struct before before = play_before(play);
    struct call call = {0}, twin;
    gqa_status a;

    draw(play, &call);
    twin = call;
    for (int i = 0; i < TENSORS; i++) {
        twin.tensor[i].data = scene_twin(&play->scene, twin.tensor[i].data);
    }
    host_plan(&play->world[0].host, &play->scene.in, 3);
    a = run(play->world[0].layer, &call, &err_a);
    if (play_goes_on(play, &before, a)) {
        const gqa_status b = run(play->world[1].layer, &twin, &err_b);
        play_agree(play, &before, a, b, &err_a, &err_b);
    }
}
