/* SPDX-License-Identifier: Apache-2.0 */
/* scene.h - what the fuzz targets build from an input: memory of exact sizes, tensors, a host whose
 * allocator counts and fails, a layer with the weights that its config calls for, and spoilt values
 * for all of these.
 *
 * Every tensor has a heap block of just the bytes that its view spans, so that AddressSanitizer
 * sees one byte too many. A block has a twin on demand, equal when it was made: two calls that must
 * agree write one each.
 */
#ifndef FUZZ_SCENE_H
#define FUZZ_SCENE_H

#include "bytes.h"
#include "gqa/gqa.h"

enum { SCENE_BLOCKS = 1024, SCENE_LARGEST = 1 << 20 /* bytes of a block */ };

struct block {
    unsigned char *data, *twin; /* [size]; twin may be NULL */
    size_t size;
};

struct scene {
    struct bytes in;
    uint32_t seed; /* of the values in tensors */
    bool wild;     /* tensors hold any bits: NaN, infinities, huge and denormal numbers */
    bool hostile;  /* values are spoilt */
    gqa_config config;
    gqa_weights weights;
    struct block block[SCENE_BLOCKS];
    int blocks;
};

void scene_open(struct scene *scene, const uint8_t *data, size_t size);
void scene_close(struct scene *scene);

/* size bytes of zeros that live as long as the scene; exits the process when it has too many. */
void *scene_memory(struct scene *scene, size_t size);
/* The place in the twin of the block that holds the address; the address itself where none does. */
void *scene_twin(struct scene *scene, void *data);
/* All twins that exist are equal to their blocks. */
bool scene_twins_agree(const struct scene *scene);
/* Begin anew with twins. */
void scene_forget_twins(struct scene *scene);

/* A filled tensor; now and then with gaps between its rows. Zero elements: data is still no NULL.
 * */
gqa_tensor scene_tensor(struct scene *scene, gqa_dtype dtype, int32_t rank, const int64_t *shape);
gqa_dtype scene_float(struct scene *scene); /* f32, bf16 or f16 */
int32_t *scene_ints(struct scene *scene, int64_t n);

/* Spoil one member of a tensor. Where the view is still sound, its block is made anew to fit it. */
void scene_spoil_tensor(struct scene *scene, gqa_tensor *tensor);
/* Spoil some of n tensors that lie one after the other in a struct, from offset on; often none. */
void scene_spoil_tensors(struct scene *scene, void *base, size_t offset, size_t end);

/* --- the host ----------------------------------------------------------------------------------
 */

struct host {
    int32_t live;       /* blocks that the library holds */
    int32_t asked;      /* how often it asked */
    int32_t refuse;     /* the time at which it gets NULL; 0 = never. So do very large requests */
    int32_t crooked;    /* the time at which its memory is not aligned; 0 = never */
    bool refused, bent; /* that happened */
};

/* Perhaps something goes wrong at one of the next times times; clears what happened. */
void host_plan(struct host *host, struct bytes *in, int32_t times);

void host_runtime(struct host *host, gqa_runtime *runtime, int32_t threads);

/* --- a layer (scene_layer.c) -------------------------------------------------------------------
 */

/* A config that is nearly always accepted, and, if the scene is hostile, spoilt now and then.
 * attention: hidden_size 0. */
void scene_config(struct scene *scene, bool attention);
/* The weights that the config calls for. False if they would be too large. */
bool scene_weights(struct scene *scene);

/* What a cache holds: lengths, positions, keys and values, and with pages the free pages. */
uint64_t cache_hash(const gqa_cache *cache, const gqa_config *config, int32_t sequences,
                    bool pages);

#endif
