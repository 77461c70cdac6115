/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_api.c - the public functions on random layers: configs, weights, calls, cache operations and
 * an allocator that fails. Nothing may crash or leak, a call that fails leaves the cache as it was,
 * and two worlds that differ in what changes no bit must agree to the bit (play.h). */
#include <string.h>

#include "play.h"

enum { CALLS = 8 };

static void append(struct play *play)
{
    struct scene *const scene = &play->scene;
    struct bytes *const in = &scene->in;
    const int32_t sequence =
        scene->hostile && take_rarely(in, 8) ? take_odd_int(in) : take_below(in, 3);
    const int64_t n = take_below(in, 40);
    const int64_t k_shape[] = {n, play->hkv, play->dk}, v_shape[] = {n, play->hkv, play->dv};
    const struct before before = play_before(play);
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    gqa_tensor kv[2] = {scene_tensor(scene, scene_float(scene), 3, k_shape),
                        scene_tensor(scene, scene_float(scene), 3, v_shape)};
    int32_t *positions = NULL;
    gqa_status a;

    if (take_rarely(in, 3)) {
        const int32_t start =
            scene->hostile && take_rarely(in, 2) ? take_odd_int(in) : play->columns;
        positions = scene_ints(scene, n);
        for (int32_t i = 0; i < n; i++) {
            positions[i] = (int32_t)((uint32_t)start + (uint32_t)i * 2);
        }
    }
    scene_spoil_tensors(scene, kv, 0, sizeof kv);
    a = gqa_cache_append(play->world[0].cache, sequence, &kv[0], &kv[1], positions, &err_a);
    if (play_goes_on(play, &before, a)) {
        const gqa_status b =
            gqa_cache_append(play->world[1].cache, sequence, &kv[0], &kv[1], positions, &err_b);
        play_agree(play, &before, a, b, &err_a, &err_b);
    }
    play->columns += (int32_t)n;
}

static void truncate_sequence(struct play *play)
{
    struct bytes *const in = &play->scene.in;
    const bool odd = play->scene.hostile && take_rarely(in, 4);
    const int32_t sequence = odd ? take_odd_int(in) : take_below(in, play->sequences);
    const int32_t length = odd ? take_odd_int(in) : take_below(in, 48);
    const struct before before = play_before(play);
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    const gqa_status a = gqa_cache_truncate(play->world[0].cache, sequence, length, &err_a);

    if (play_goes_on(play, &before, a)) {
        const gqa_status b = gqa_cache_truncate(play->world[1].cache, sequence, length, &err_b);
        play_agree(play, &before, a, b, &err_a, &err_b);
    }
}

static void read_cache(struct play *play)
{
    struct scene *const scene = &play->scene;
    struct bytes *const in = &scene->in;
    const bool odd = scene->hostile && take_rarely(in, 4);
    const int32_t sequence = odd ? take_odd_int(in) : take_below(in, play->sequences);
    const int32_t first = odd ? take_odd_int(in) : take_below(in, 20);
    const int64_t n = take_below(in, 20);
    const int64_t k_shape[] = {play->hkv, n, play->dk}, v_shape[] = {play->hkv, n, play->dv};
    const struct before before = play_before(play);
    gqa_error err_a = {GQA_OK, NULL, ""}, err_b = err_a;
    gqa_tensor kv[2] = {scene_tensor(scene, scene_float(scene), 3, k_shape),
                        scene_tensor(scene, scene_float(scene), 3, v_shape)};
    int32_t *const positions = scene_ints(scene, n);
    gqa_tensor twin[2];
    gqa_status a;

    scene_spoil_tensors(scene, kv, 0, sizeof kv);
    memcpy(twin, kv, sizeof kv);
    twin[0].data = scene_twin(scene, twin[0].data);
    twin[1].data = scene_twin(scene, twin[1].data);
    if (kv[0].shape[1] > n || kv[1].shape[1] > n) { /* more than positions has room for */
        return;
    }
    a = gqa_cache_read(play->world[0].cache, sequence, first, &kv[0], &kv[1], positions, &err_a);
    if (play_goes_on(play, &before, a)) {
        const gqa_status b = gqa_cache_read(play->world[1].cache, sequence, first, &twin[0],
                                            &twin[1], scene_twin(scene, positions), &err_b);
        play_agree(play, &before, a, b, &err_a, &err_b);
    }
}

static void play_one(struct play *play)
{
    const int32_t which = take_below(&play->scene.in, 8);

    scene_forget_twins(&play->scene);
    if (which < 3 || (play->sequences == 0 && which >= 5)) {
        play_forward(play);
    } else if (which == 3) {
        play_attend(play);
    } else if (which == 4) {
        play_stage(play);
    } else if (which == 5) {
        append(play);
    } else if (which == 6) {
        truncate_sequence(play);
    } else {
        read_cache(play);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play; /* large */

    if (play_open(&play, data, size, false)) {
        for (int i = 0; i < CALLS && play.scene.in.left > 0; i++) {
            play_one(&play);
        }
    }
    play_close(&play);
    return 0;
}
