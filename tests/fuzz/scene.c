/* SPDX-License-Identifier: Apache-2.0 */
/* scene.c - memory, tensors and the host; see scene.h. */
#include "scene.h"

#include <string.h>

/* --- memory ------------------------------------------------------------------------------------
 */

void scene_open(struct scene *scene, const uint8_t *data, size_t size)
{
    uint8_t first;

    memset(scene, 0, sizeof *scene);
    scene->in = (struct bytes){data, size};
    scene->seed = take_word(&scene->in);
    first = take_byte(&scene->in);
    scene->wild = first % 4 == 3;
    scene->hostile = first / 4 % 2 == 1;
    gqa_config_init(&scene->config);
    gqa_weights_init(&scene->weights);
}

void scene_close(struct scene *scene)
{
    for (int i = 0; i < scene->blocks; i++) {
        free(scene->block[i].data);
        free(scene->block[i].twin);
    }
}

static void *must(void *memory)
{
    FUZZ_CHECK(memory != NULL);
    return memory;
}

void *scene_memory(struct scene *scene, size_t size)
{
    FUZZ_CHECK(scene->blocks < SCENE_BLOCKS);
    scene->block[scene->blocks] = (struct block){must(calloc(size > 0 ? size : 1, 1)), NULL, size};
    return scene->block[scene->blocks++].data;
}

void *scene_twin(struct scene *scene, void *data)
{
    for (int i = 0; i < scene->blocks; i++) {
        struct block *block = &scene->block[i];
        const uintptr_t at = (uintptr_t)data - (uintptr_t)block->data;
        if (at > block->size) {
            continue;
        }
        if (block->twin == NULL) {
            block->twin = must(malloc(block->size > 0 ? block->size : 1));
            memcpy(block->twin, block->data, block->size);
        }
        return block->twin + at;
    }
    return data;
}

bool scene_twins_agree(const struct scene *scene)
{
    for (int i = 0; i < scene->blocks; i++) {
        const struct block *block = &scene->block[i];
        if (block->twin != NULL && memcmp(block->twin, block->data, block->size) != 0) {
            return false;
        }
    }
    return true;
}

void scene_forget_twins(struct scene *scene)
{
    for (int i = 0; i < scene->blocks; i++) {
        free(scene->block[i].twin);
        scene->block[i].twin = NULL;
    }
}

/* --- values ------------------------------------------------------------------------------------
 */

static uint32_t next(struct scene *scene)
{
    return next_value(&scene->seed) >> 8; /* 24 bits */
}

static void fill_float(struct scene *scene, float *to, size_t n)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1e-42f, -0.0f, 3e37f};

    for (size_t i = 0; i < n; i++) {
        to[i] = (float)next(scene) * 0x1p-23f - 1.0f;
        if (scene->wild && next(scene) % 64 == 0) {
            to[i] = odd[next(scene) % 8];
        }
    }
}

static void fill_half(struct scene *scene, uint16_t *to, size_t n, uint16_t base)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = next(scene);
        to[i] = (uint16_t)(base | (bits & 0x807fu));
        if (scene->wild && bits % 64 == 0) {
            to[i] = (uint16_t)next(scene);
        }
    }
}

static void fill(struct scene *scene, gqa_dtype dtype, void *to, size_t size)
{
    unsigned char *bytes = to;

    switch (dtype) {
    case GQA_F32:
        fill_float(scene, to, size / 4);
        return;
    case GQA_BF16:
        fill_half(scene, to, size / 2, 0x3f00);
        return;
    case GQA_F16:
        fill_half(scene, to, size / 2, 0x3800);
        return;
    case GQA_U8: /* mostly 1 */
        for (size_t i = 0; i < size; i++) {
            bytes[i] = scene->wild ? (unsigned char)next(scene) : next(scene) % 4 != 0;
        }
        return;
    case GQA_BITS:
    case GQA_I8:
    default:
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (unsigned char)next(scene);
        }
    }
}

/* --- tensors -----------------------------------------------------------------------------------
 */

static size_t bits_of(gqa_dtype dtype)
{
    return dtype == GQA_F32                        ? 32
           : dtype == GQA_BF16 || dtype == GQA_F16 ? 16
           : dtype == GQA_BITS                     ? 1
                                                   : 8;
}

/* Bytes from data on that a sound view spans; -1 if it is not sound or spans too much. */
static int64_t span_of(const gqa_tensor *t)
{
    double last = 0; /* exact where it matters: far below 2^53 */
    bool packed = true;

    if (t->rank < 1 || t->rank > 4) {
        return -1;
    }
    for (int32_t i = 0; i < t->rank; i++) {
        packed = packed && t->stride[i] == 0;
    }
    for (int32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || t->stride[i] < 0) {
            return -1;
        }
    }
    for (int32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] == 0) {
            return 0;
        }
        last = packed ? (last + 1) * (double)t->shape[i] - 1
                      : last + (double)(t->shape[i] - 1) * (double)t->stride[i];
    }
    if (packed && t->dtype == GQA_BITS) { /* rows begin at a byte */
        last = (last + 1) / (double)t->shape[t->rank - 1] *
                   ceil((double)t->shape[t->rank - 1] / 8) * 8 -
               1;
    }
    last = ((last + 1) * (double)bits_of(t->dtype) + 7) / 8;
    return last > SCENE_LARGEST ? -1 : (int64_t)last;
}

static void back(struct scene *scene, gqa_tensor *tensor, int64_t span)
{
    tensor->data = scene_memory(scene, (size_t)span);
    fill(scene, tensor->dtype, tensor->data, (size_t)span);
}

gqa_tensor scene_tensor(struct scene *scene, gqa_dtype dtype, int32_t rank, const int64_t *shape)
{
    gqa_tensor t = {.dtype = dtype, .rank = rank};
    int64_t step = 1, gap = take_rarely(&scene->in, 8) ? 3 : 0;

    for (int32_t i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = step;
        step *= shape[i] > 0 ? shape[i] : 1;
        step += i == rank - 1 ? gap : 0;
        if (i == rank - 1 && dtype == GQA_BITS) {
            step = (step + 7) / 8 * 8;
        }
    }
    FUZZ_CHECK(span_of(&t) >= 0);
    back(scene, &t, span_of(&t));
    return t;
}

gqa_dtype scene_float(struct scene *scene)
{
    static const gqa_dtype dtypes[] = {GQA_F32, GQA_F32, GQA_BF16, GQA_F16};

    return TAKE_OF(&scene->in, dtypes);
}

int32_t *scene_ints(struct scene *scene, int64_t n)
{
    return scene_memory(scene, (size_t)n * sizeof(int32_t));
}

void scene_spoil_tensor(struct scene *scene, gqa_tensor *tensor)
{
    struct bytes *in = &scene->in;
    const gqa_tensor before = *tensor;
    const int32_t at = take_below(in, 4);
    int64_t span;

    switch (take_below(in, 7)) {
    case 0:
        tensor->data = NULL;
        return;
    case 1:
        tensor->dtype = (gqa_dtype)(take_below(in, 9) - 1);
        break;
    case 2:
        tensor->rank = take_rarely(in, 4) ? take_odd_int(in) : take_below(in, 6);
        break;
    case 3:
        tensor->shape[at] = take_odd_long(in);
        break;
    case 4:
        tensor->shape[at] =
            (int64_t)((uint64_t)tensor->shape[at] + (uint64_t)take_below(in, 3) - 1);
        break;
    case 5:
        tensor->stride[at] = take_odd_long(in);
        break;
    default: /* not aligned, where elements are wider than a byte */
        if (bits_of(tensor->dtype) > 8 && (uintptr_t)tensor->data % 2 == 0 &&
            tensor->data != NULL) {
            tensor->data = (unsigned char *)tensor->data + 1;
        }
        return;
    }
    if (tensor->data == NULL) {
        return;
    }
    span = span_of(tensor);
    if (span >= 0) {
        back(scene, tensor, span);
    } else if (memcmp(tensor->stride, before.stride, sizeof before.stride) != 0 &&
               tensor->stride[at] >= 0) {
        *tensor = before; /* sound, but more memory than there is */
    }
}

void scene_spoil_tensors(struct scene *scene, void *base, size_t offset, size_t end)
{
    const int32_t n = (int32_t)((end - offset) / sizeof(gqa_tensor));

    if (!scene->hostile || !take_rarely(&scene->in, 3)) {
        return;
    }
    do {
        const size_t at = offset + (size_t)take_below(&scene->in, n) * sizeof(gqa_tensor);
        scene_spoil_tensor(scene, (gqa_tensor *)(void *)((unsigned char *)base + at));
    } while (take_rarely(&scene->in, 4));
}

/* --- the host ----------------------------------------------------------------------------------
 */

enum { CROOKED = 8, HOST_LARGEST = 1 << 24 };

static void *host_alloc(void *user, size_t size, size_t align)
{
    struct host *host = user;
    const int32_t time = ++host->asked;
    const size_t crooked = time == host->crooked ? CROOKED : 0;
    unsigned char *memory;

    FUZZ_CHECK(size > 0 && align >= 64 && (align & (align - 1)) == 0);
    if (time == host->refuse || size > HOST_LARGEST) {
        host->refused = true;
        return NULL;
    }
    memory = aligned_alloc(align, (size + crooked + align - 1) / align * align);
    if (memory == NULL) {
        return NULL;
    }
    host->bent = host->bent || crooked > 0;
    host->live++;
    memset(memory, 0xa5, size < 4096 ? size : 4096);
    return memory + crooked;
}

static void host_release(void *user, void *memory)
{
    struct host *host = user;
    const bool crooked = (uintptr_t)memory % 64 == CROOKED;

    FUZZ_CHECK(memory != NULL);
    host->live--;
    free((unsigned char *)memory - (crooked ? CROOKED : 0));
}

void host_plan(struct host *host, struct bytes *in, int32_t times)
{
    host->refuse = take_rarely(in, 8) ? host->asked + 1 + take_below(in, times) : 0;
    host->crooked = take_rarely(in, 32) ? host->asked + 1 + take_below(in, times) : 0;
    host->refused = host->bent = false;
}

/* The last task first. */
static void host_parallel_for(void *user, int n, void (*task)(void *arg, int i), void *arg)
{
    (void)user;
    for (int i = n - 1; i >= 0; i--) {
        task(arg, i);
    }
}

void host_runtime(struct host *host, gqa_runtime *runtime, int32_t threads)
{
    gqa_runtime_init(runtime);
    runtime->user = host;
    runtime->alloc = host_alloc;
    runtime->release = host_release;
    if (threads > 1) {
        runtime->num_threads = threads;
        runtime->parallel_for = host_parallel_for;
    }
}

/* --- what a cache holds ------------------------------------------------------------------------
 */

static uint64_t add(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    return hash;
}

uint64_t cache_hash(const gqa_cache *cache, const gqa_config *config, int32_t sequences, bool pages)
{
    const int64_t heads = config->num_key_value_heads;
    const int64_t dk = config->head_dim != 0 ? config->head_dim
                                             : config->hidden_size / config->num_attention_heads;
    const int64_t dv = config->v_head_dim != 0 ? config->v_head_dim : dk;
    const int64_t free_pages = pages ? gqa_cache_free_pages(cache) : 0;
    uint64_t hash = add(14695981039346656037u, &free_pages, sizeof free_pages);

    for (int32_t s = 0; s < sequences; s++) {
        const int32_t n = gqa_cache_length(cache, s);
        const size_t k_size = (size_t)(heads * n * dk) * 4, v_size = (size_t)(heads * n * dv) * 4;
        int32_t *positions;
        float *k, *v;
        FUZZ_CHECK(n >= 0);
        positions = must(calloc((size_t)n + 1, sizeof *positions));
        k = must(calloc(k_size + 4, 1));
        v = must(calloc(v_size + 4, 1));
        {
            const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, heads, n, dk);
            const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, heads, n, dv);
            FUZZ_CHECK(gqa_cache_read(cache, s, 0, &key, &value, positions, NULL) == GQA_OK);
        }
        hash = add(hash, &n, sizeof n);
        hash = add(hash, positions, (size_t)n * sizeof *positions);
        hash = add(hash, k, k_size);
        hash = add(hash, v, v_size);
        free(positions);
        free(k);
        free(v);
    }
    return hash;
}
