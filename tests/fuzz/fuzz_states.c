/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_states.c - key ranges, their states, and merges. Cut at nodes of the fold tree, in either of
 * two worlds (play.h), merged and finished, the parts have the bits of one walk; a prior in between
 * changes nothing; states, counts and ranges that make no sense are refused or served, but never
 * read or write beyond what they are. */
#include <string.h>

#include "play.h"

enum { PARTS = 80, BLOCK = 256 };

struct part {
    gqa_states states;
};

struct cut {
    struct play *play;
    gqa_attend_inputs in;
    int32_t t, keys;
    struct part part[PARTS];
    const gqa_states *list[PARTS];
    int32_t parts;
    gqa_states whole;
    gqa_tensor output, lse; /* of one walk over everything */
};

static gqa_tensor tensor(struct play *play, gqa_dtype dtype, int32_t rank, int64_t a, int64_t b,
                         int64_t c, int64_t d)
{
    const int64_t shape[] = {a, b, c, d};

    return scene_tensor(&play->scene, dtype, rank, shape);
}

/* States are packed. */
static gqa_states states_new(const struct cut *cut)
{
    struct play *const play = cut->play;
    const int64_t rows = (int64_t)cut->t * play->hq;
    gqa_states s = {.key_begin = 77, .key_end = 77};

    s.m = gqa_tensor_3d(scene_memory(&play->scene, (size_t)rows * 4), GQA_F32, 1, cut->t, play->hq);
    s.l = gqa_tensor_3d(scene_memory(&play->scene, (size_t)rows * 4), GQA_F32, 1, cut->t, play->hq);
    s.o = gqa_tensor_4d(scene_memory(&play->scene, (size_t)(rows * play->dv) * 4), GQA_F32, 1,
                        cut->t, play->hq, play->dv);
    return s;
}

static bool same(const gqa_tensor *a, const gqa_tensor *b)
{
    size_t size = a->dtype == GQA_F32 ? 4 : 2;

    for (int32_t i = 0; i < a->rank; i++) {
        size *= (size_t)a->shape[i];
    }
    return memcmp(a->data, b->data, size) == 0;
}

static bool same_states(const gqa_states *a, const gqa_states *b)
{
    return same(&a->m, &b->m) && same(&a->l, &b->l) && same(&a->o, &b->o);
}

static const gqa_layer *any_layer(struct play *play)
{
    const bool second = play->twin && play->same_bits && take_rarely(&play->scene.in, 2);

    return play->world[second ? 1 : 0].layer;
}

/* --- one call and its ranges --------------------------------------------------------------------
 */

/* Queries, keys and values; false where the whole walk is refused. */
static bool draw_call(struct cut *cut)
{
    static const int32_t lengths[] = {300, 700, 1, 256, 512, 1100, 1537, 2600, 0};
    struct play *const play = cut->play;
    struct bytes *const in = &play->scene.in;
    gqa_attend_output out;
    gqa_error err;

    cut->keys = TAKE_OF(in, lengths);
    cut->t = take_below(in, 4) + 1;
    while ((int64_t)cut->keys * (play->hkv + cut->t) * (play->dk + play->dv) * 4 > SCENE_LARGEST) {
        cut->keys /= 2;
    }
    gqa_attend_inputs_init(&cut->in);
    cut->in.query = tensor(play, scene_float(&play->scene), 4, 1, cut->t, play->hq, play->dk);
    cut->in.key = tensor(play, scene_float(&play->scene), 4, 1, cut->keys, play->hkv, play->dk);
    cut->in.value = tensor(play, scene_float(&play->scene), 4, 1, cut->keys, play->hkv, play->dv);
    if (take_rarely(in, 4)) {
        cut->in.bias = tensor(play, GQA_F32, 4, 1, 1, cut->t, cut->keys);
    }
    if (take_rarely(in, 4)) {
        cut->in.mask = tensor(play, GQA_BITS, 4, 1, 1, cut->t, cut->keys);
    }
    cut->in.leave_out_sinks = take_rarely(in, 4) ? 1 : 0;
    cut->in.phase = GQA_PHASE_CTE;
    cut->whole = states_new(cut);
    cut->output =
        gqa_tensor_4d(scene_memory(&play->scene, (size_t)(cut->t * play->hq * play->dv) * 4),
                      GQA_F32, 1, cut->t, play->hq, play->dv);
    cut->lse = gqa_tensor_3d(scene_memory(&play->scene, (size_t)(cut->t * play->hq) * 4), GQA_F32,
                             1, cut->t, play->hq);
    gqa_attend_output_init(&out);
    out.output = cut->output;
    out.lse = cut->lse;
    out.states = cut->whole;
    if (gqa_attend(play->world[0].layer, NULL, &cut->in, &out, NULL, 0, &err) != GQA_OK) {
        return false;
    }
    cut->whole = out.states;
    return true;
}

/* The states of one range by either world; prior may be NULL. False where it is refused. */
static bool attend_range(struct cut *cut, int32_t begin, int32_t end, const gqa_states *prior,
                         gqa_states *to)
{
    gqa_attend_inputs in = cut->in;
    gqa_attend_output out;
    gqa_error err;

    gqa_attend_output_init(&out);
    *to = states_new(cut);
    out.states = *to;
    in.range_begin = begin;
    in.range_end = end;
    in.prior = prior;
    if (gqa_attend(any_layer(cut->play), NULL, &in, &out, NULL, 0, &err) != GQA_OK) {
        return false;
    }
    *to = out.states;
    return true;
}

static void attend_sound_range(struct cut *cut, int32_t begin, int32_t end, const gqa_states *prior,
                               gqa_states *to)
{
    const bool served = attend_range(cut, begin, end, prior, to);

    FUZZ_CHECK(served);
}

/* --- sound cuts ----------------------------------------------------------------------------------
 */

/* Nodes of the fold tree: [begin, begin + length) is one, and is taken whole or as its halves. */
static void cut_node(struct cut *cut, int32_t begin, int32_t length)
{
    const bool last = begin + length >= cut->keys;

    if (begin >= cut->keys || cut->parts == PARTS) {
        return;
    }
    if (length > BLOCK && (take_rarely(&cut->play->scene.in, 2) || cut->parts > PARTS / 2)) {
        cut_node(cut, begin, length / 2);
        cut_node(cut, begin + length / 2, length / 2);
        return;
    }
    attend_sound_range(cut, begin, last ? cut->keys : begin + length, NULL,
                       &cut->part[cut->parts].states);
    cut->parts++;
}

static void check_merge(struct cut *cut)
{
    struct play *const play = cut->play;
    const gqa_layer *const layer = any_layer(play);
    gqa_states merged = states_new(cut);
    gqa_tensor output = cut->output, lse = cut->lse;
    gqa_error err;

    for (int32_t i = 0; i < cut->parts; i++) {
        cut->list[i] = &cut->part[i].states;
    }
    FUZZ_CHECK(gqa_merge_states(cut->list, cut->parts, &merged, &err) == GQA_OK);
    FUZZ_CHECK(merged.key_begin == 0);
    FUZZ_CHECK(same_states(&merged, &cut->whole));
    output.data = scene_memory(&play->scene, (size_t)(cut->t * play->hq * play->dv) * 4);
    lse.data = scene_memory(&play->scene, (size_t)(cut->t * play->hq) * 4);
    FUZZ_CHECK(gqa_finish_states(layer, &merged, cut->in.phase, cut->in.leave_out_sinks, &output,
                                 &lse, &err) == GQA_OK);
    FUZZ_CHECK(same(&output, &cut->output) && same(&lse, &cut->lse));
}

/* The left half as a prior of the right one. */
static void check_prior(struct cut *cut)
{
    gqa_states left, both;
    int32_t middle = BLOCK;

    while (2 * middle < cut->keys) {
        middle *= 2;
    }
    if (middle >= cut->keys) {
        return;
    }
    attend_sound_range(cut, 0, middle, NULL, &left);
    attend_sound_range(cut, middle, 0, &left, &both);
    FUZZ_CHECK(same_states(&both, &cut->whole));
}

/* --- unsound ones --------------------------------------------------------------------------------
 */

/* Any range, as attend reports it. */
static void draw_range(struct cut *cut)
{
    struct bytes *const in = &cut->play->scene.in;
    const bool odd = take_rarely(in, 2);
    const int32_t begin = odd ? take_odd_int(in) : BLOCK * take_below(in, 12);
    const int32_t end = odd ? take_odd_int(in) : BLOCK * take_below(in, 12);
    const gqa_states *const prior =
        cut->parts > 0 && take_rarely(in, 3) ? &cut->part[take_below(in, cut->parts)].states : NULL;

    if (cut->parts < PARTS && attend_range(cut, begin, end, prior, &cut->part[cut->parts].states)) {
        const gqa_states *const s = &cut->part[cut->parts].states;
        FUZZ_CHECK(s->key_begin >= 0 && s->key_begin <= s->key_end);
        cut->parts++;
    }
}

static void spoil_states(struct cut *cut, gqa_states *s)
{
    struct bytes *const in = &cut->play->scene.in;

    s->key_begin = take_rarely(in, 2) ? BLOCK * (take_below(in, 80) - 40) : take_odd_int(in);
    s->key_end = take_rarely(in, 2)
                     ? (int32_t)((uint32_t)s->key_begin + BLOCK * (uint32_t)take_below(in, 4))
                     : take_odd_int(in);
    scene_spoil_tensors(&cut->play->scene, s, offsetof(gqa_states, m),
                        offsetof(gqa_states, key_begin));
}

/* Any list of what there is, in any order, many times over. */
static void merge_anything(struct cut *cut)
{
    struct play *const play = cut->play;
    struct bytes *const in = &play->scene.in;
    const int32_t n = take_below(in, PARTS + 1) - 1;
    const bool rising = take_rarely(in, 2);
    gqa_states out = states_new(cut);
    gqa_tensor output = tensor(play, scene_float(&play->scene), 4, 1, cut->t, play->hq, play->dv);
    gqa_error err;
    gqa_status status;

    for (int32_t i = 0; i < n; i++) {
        const int32_t at =
            rising ? (i < cut->parts ? i : cut->parts - 1) : take_below(in, cut->parts);
        cut->list[i] = &cut->part[at].states;
    }
    if (take_rarely(in, 4)) {
        scene_spoil_tensors(&play->scene, &out, offsetof(gqa_states, m),
                            offsetof(gqa_states, key_begin));
    }
    status = gqa_merge_states(cut->list, n, &out, &err);
    FUZZ_CHECK(status == GQA_OK || err.message[0] != '\0');
    FUZZ_CHECK(n > 0 || status == GQA_ERR_ARG);
    if (status != GQA_OK && take_rarely(in, 2)) {
        out = cut->part[0].states;
    }
    scene_spoil_tensors(&play->scene, &output, 0, sizeof output);
    host_plan(&play->world[0].host, in, 3);
    (void)gqa_finish_states(play->world[0].layer, &out, (gqa_phase)take_below(in, 4),
                            take_below(in, 3), &output, NULL, &err);
}

static void play_with(struct cut *cut)
{
    struct bytes *const in = &cut->play->scene.in;
    int32_t length = BLOCK;

    if (!take_rarely(in, 2)) { /* sound */
        while (length < cut->keys) {
            length *= 2;
        }
        cut_node(cut, 0, length);
        if (cut->parts > 0) {
            check_merge(cut);
        }
        check_prior(cut);
    }
    for (int i = 0; i < 12 && in->left > 0; i++) {
        draw_range(cut);
    }
    for (int i = 0; i < 12 && cut->parts > 0 && cut->play->scene.hostile && in->left > 0; i++) {
        spoil_states(cut, &cut->part[take_below(in, cut->parts)].states);
    }
    for (int i = 0; i < 4 && cut->parts > 0 && in->left > 0; i++) {
        merge_anything(cut);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play; /* large */
    static struct cut cut;

    memset(&cut, 0, sizeof cut);
    cut.play = &play;
    if (play_open(&play, data, size, true) && play.scene.config.backend != GQA_BACKEND_REFERENCE &&
        draw_call(&cut)) {
        play_with(&cut);
    }
    play_close(&play);
    return 0;
}
