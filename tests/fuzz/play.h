/* SPDX-License-Identifier: Apache-2.0 */
/* play.h - two worlds that must agree: one config and the same weights as two layers with a cache
 * each. World 0 is plain. World 1 differs in all that must not change a bit: kernel set, weights in
 * place, page size, threads, the caller's workspace, a tap. Every call is made in both. */
#ifndef FUZZ_PLAY_H
#define FUZZ_PLAY_H

#include "scene.h"

struct world {
    struct host host;
    gqa_layer *layer;
    gqa_cache *cache; /* or NULL */
};

struct play {
    struct scene scene;
    struct world world[2];
    bool twin;         /* there is a world 1 */
    bool same_bits;    /* and it is under the promise of equal bits */
    int32_t sequences; /* of the caches; 0 without */
    int32_t columns;   /* at most so many columns were passed for any sequence */
    int32_t hq, hkv, dk, dv, hidden;
};

/* Config, weights, layers and caches. False when there is no layer to play with (all that was made
 * has been checked). */
bool play_open(struct play *play, const uint8_t *data, size_t size, bool attention);
void play_close(struct play *play);

/* Before and after a call that may change caches. world0: what the first world said. Returns
 * whether world 1 is to make the call too. */
struct before {
    uint64_t hash[2];
};
struct before play_before(struct play *play);
bool play_goes_on(struct play *play, const struct before *before, gqa_status world0);
/* Both worlds agree: status, field, caches and all memory with a twin. */
void play_agree(struct play *play, const struct before *before, gqa_status a, gqa_status b,
                const gqa_error *err_a, const gqa_error *err_b);

/* play_forward.c, play_attend.c, play_stages.c: one call each. */
void play_forward(struct play *play);
void play_attend(struct play *play);
void play_stage(struct play *play);

#endif
