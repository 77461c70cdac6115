/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_neuron_maps.c - see fuzz_neuron.h. A number is small, or, in a hostile scene, any; where an
 * array's length would be large its function is called for its refusal only, without arrays or not
 * at all. */
#include <string.h>

#include "fuzz_neuron.h"

enum { LONGEST = 4096 };

static int32_t number(struct scene *scene, int32_t below)
{
    return scene->hostile && take_rarely(&scene->in, 4) ? take_odd_int(&scene->in)
                                                        : take_below(&scene->in, below);
}

/* Cut to what an int32_t holds. */
static int32_t product(int32_t a, int32_t b)
{
    const int64_t whole = (int64_t)a * b;

    return whole > INT32_MAX ? INT32_MAX : whole < INT32_MIN ? INT32_MIN : (int32_t)whole;
}

static gqa_neuron_release any_release(struct scene *scene)
{
    static const int32_t releases[] = {0, 226, 227, 229};
    const bool odd = scene->hostile && take_rarely(&scene->in, 8);

    return (gqa_neuron_release)(odd ? take_odd_int(&scene->in) : TAKE_OF(&scene->in, releases));
}

/* A struct of numbers, each below its limit. */
static void numbers(struct scene *scene, int32_t *fields, size_t size, int32_t below)
{
    for (size_t i = 0; i < size / sizeof *fields; i++) {
        fields[i] = number(scene, below);
    }
}

static bool is_length(int64_t n)
{
    return n >= 0 && n <= LONGEST;
}

/* Filled with numbers of -2 .. below - 3. */
static int32_t *draw_list(struct scene *scene, int64_t n, int32_t below)
{
    int32_t *const list = scene_ints(scene, n);

    for (int64_t i = 0; i < n; i++) {
        list[i] = (int32_t)(next_value(&scene->seed) >> 8) % below - 2;
    }
    return list;
}

static void expect_status(gqa_status status)
{
    FUZZ_CHECK(status == GQA_OK || status == GQA_ERR_ARG || status == GQA_ERR_UNSUPPORTED ||
               status == GQA_ERR_SHAPE);
}

/* --- choices -----------------------------------------------------------------------------------
 */

static void strategy(struct scene *scene)
{
    gqa_neuron_strategy_input input;
    gqa_neuron_flash_strategy result = GQA_NEURON_STRATEGY_NONE;

    numbers(scene, (int32_t *)&input, sizeof input, 3);
    input.release = any_release(scene);
    input.q_len = number(scene, 5000);
    input.head_dim = number(scene, 300);
    expect_status(gqa_neuron_strategy(&input, &result, NULL));
    FUZZ_CHECK(strcmp(gqa_neuron_strategy_name(result), "unknown") != 0);
}

static void route(struct scene *scene)
{
    gqa_neuron_route_input input;
    gqa_neuron_route result;

    numbers(scene, (int32_t *)&input, sizeof input, 2);
    input.release = any_release(scene);
    input.input_len = number(scene, 300);
    input.seq_len = number(scene, 5000);
    input.attention_chunk_size = product(number(scene, 2), 128);
    if (gqa_neuron_find_route(&input, &result, NULL) == GQA_OK) {
        FUZZ_CHECK(strcmp(gqa_neuron_path_name(result.path), "unknown") != 0);
        FUZZ_CHECK(strcmp(gqa_neuron_operation_name(result.operation), "unknown") != 0);
    }
}

/* --- heads and ranks ---------------------------------------------------------------------------
 */

static void heads(struct scene *scene)
{
    const int32_t kv = number(scene, 9), query = product(kv, number(scene, 9));
    const int32_t tp = number(scene, 33);
    gqa_neuron_heads count;

    if (gqa_neuron_count_heads(query, kv, tp, &count, NULL) == GQA_OK &&
        is_length(count.query_heads) && is_length(count.kv_heads)) {
        int32_t *const q_map = scene_ints(scene, count.query_heads);
        int32_t *const kv_map = scene_ints(scene, count.kv_heads);
        FUZZ_CHECK(gqa_neuron_map_heads(query, kv, tp, q_map, kv_map, NULL) == GQA_OK);
        for (int32_t i = 0; i < count.query_heads; i++) {
            FUZZ_CHECK(q_map[i] >= -1 && q_map[i] < query);
        }
    } else {
        expect_status(gqa_neuron_map_heads(query, kv, tp, NULL, NULL, NULL));
    }
}

static void mesh(struct scene *scene)
{
    const int32_t world = number(scene, 70), groups = number(scene, 10);
    const int32_t n = is_length(world) ? world : 0;
    int32_t supported;

    expect_status(gqa_neuron_mesh(world, groups, n > 0 ? scene_ints(scene, n) : NULL,
                                  n > 0 ? scene_ints(scene, n) : NULL, NULL));
    expect_status(gqa_neuron_dp_supported(number(scene, 9), world, groups, &supported, NULL));
}

static void ranks(struct scene *scene)
{
    gqa_neuron_ranks input;
    int32_t n;

    numbers(scene, (int32_t *)&input, sizeof input, 9);
    input.world = product(number(scene, 9), number(scene, 9));
    input.order_8x8 = number(scene, 2);
    n = is_length(input.world) ? input.world : 0;
    expect_status(gqa_neuron_rank_order(&input, scene_ints(scene, n), NULL));
    expect_status(gqa_neuron_rank_heads(&input, scene_ints(scene, n), NULL));
}

static void stride(struct scene *scene)
{
    const int32_t step = number(scene, 9);
    const int32_t length = product(step, number(scene, 30));
    const int64_t n = is_length(length) ? length : 0;

    if (n == length) {
        expect_status(gqa_neuron_stride_order(length, step, scene_ints(scene, n),
                                              scene_ints(scene, n), NULL));
    }
}

/* --- caches ------------------------------------------------------------------------------------
 */

static void window(struct scene *scene)
{
    gqa_neuron_window input = {any_release(scene), number(scene, 70), number(scene, 6)};
    const int32_t position = number(scene, 300);
    int32_t slots = 0, width = 0, write_slot;

    if (gqa_neuron_window_size(&input, &slots, &width, NULL) != GQA_OK || !is_length(slots) ||
        !is_length((int64_t)width * (input.speculation_length + 1))) {
        return;
    }
    expect_status(gqa_neuron_window_slots(&input, position, scene_ints(scene, slots), NULL));
    expect_status(gqa_neuron_window_decode(&input, position, scene_memory(scene, (size_t)width),
                                           &write_slot, NULL));
    expect_status(gqa_neuron_window_speculate(
        &input, position, draw_list(scene, slots, 300),
        scene_memory(scene, (size_t)width * (size_t)input.speculation_length), NULL));
}

static void chunk(struct scene *scene)
{
    const int32_t size = number(scene, 70), position = number(scene, 300);
    const int32_t n = is_length(size) ? size : 0;
    int32_t write_slot;

    if (n == size) {
        expect_status(
            gqa_neuron_chunk_slots(size, position, number(scene, 300), scene_ints(scene, n), NULL));
        expect_status(gqa_neuron_chunk_decode(size, position, scene_memory(scene, (size_t)n),
                                              &write_slot, NULL));
    }
}

static void decoding(struct scene *scene)
{
    gqa_neuron_flash_decoding input;

    numbers(scene, (int32_t *)&input, sizeof input, 9);
    input.slots = number(scene, 100);
    if (input.tokens <= 64 && is_length(input.slots)) {
        const size_t tokens = input.tokens > 0 ? (size_t)input.tokens : 0;
        expect_status(gqa_neuron_flash_decoding_masks(&input, scene_memory(scene, tokens * tokens),
                                                      scene_memory(scene, (size_t)input.slots),
                                                      NULL));
    }
}

static void range_and_medusa(struct scene *scene)
{
    const int32_t slots = number(scene, 100), tokens = number(scene, 20);
    const int32_t begin = number(scene, 110), end = number(scene, 110);

    if (is_length(slots)) {
        expect_status(
            gqa_neuron_range_mask(begin, end, slots, scene_memory(scene, (size_t)slots), NULL));
    }
    if (is_length(slots) && is_length(tokens)) {
        expect_status(gqa_neuron_medusa_slots(draw_list(scene, tokens, slots + 4),
                                              draw_list(scene, tokens, slots + 4), tokens,
                                              scene_ints(scene, slots), slots, NULL));
    }
}

/* --- blocks ------------------------------------------------------------------------------------
 */

static void blocks(struct scene *scene)
{
    const int32_t requests = number(scene, 5), width = number(scene, 7), tokens = number(scene, 5);
    const bool sound = is_length(requests) && is_length(width) && is_length(tokens) &&
                       is_length((int64_t)requests * width) &&
                       is_length((int64_t)requests * tokens);
    gqa_neuron_block_table table = {requests, width, number(scene, 40), NULL};
    int32_t count = 0;

    if (!sound) {
        return;
    }
    table.table = draw_list(scene, (int64_t)requests * width, 30);
    {
        const int32_t *const lens = draw_list(scene, requests, width * 30 + 3);
        const gqa_status status = gqa_neuron_active_blocks(&table, lens, NULL, 0, &count, NULL);
        expect_status(status);
        if (status == GQA_OK && is_length(count)) {
            FUZZ_CHECK(gqa_neuron_active_blocks(&table, lens, scene_ints(scene, count), count,
                                                &count, NULL) == GQA_OK);
        }
    }
    expect_status(gqa_neuron_token_slots(&table, tokens, draw_list(scene, requests, 300),
                                         draw_list(scene, (int64_t)requests * tokens, 6),
                                         scene_ints(scene, (int64_t)requests * tokens), NULL));
    expect_status(gqa_neuron_write_slots(
        (gqa_neuron_paged_layout)number(scene, 2), number(scene, 40), table.block_size,
        draw_list(scene, tokens, 99), scene_ints(scene, tokens), tokens, NULL));
}

static void diagonal(struct scene *scene)
{
    const int32_t requests = number(scene, 5);
    gqa_neuron_block_diagonal input = {.requests = requests,
                                       .queries = number(scene, 60),
                                       .keys = number(scene, 60),
                                       .is_prior = number(scene, 2)};

    if (is_length(requests) && is_length(input.queries) && is_length(input.keys) &&
        is_length((int64_t)input.queries * input.keys)) {
        input.query_lens = draw_list(scene, requests, 15);
        input.key_lens = draw_list(scene, requests, 20);
        expect_status(gqa_neuron_block_diagonal_mask(
            &input, scene_memory(scene, (size_t)input.queries * (size_t)input.keys), NULL));
    }
}

static void fill_schedule(struct scene *scene, const gqa_neuron_schedule_input *input,
                          gqa_neuron_schedule *plan)
{
    const int64_t tiles = plan->tiles, q = input->q_tile, kv = input->kv_tile;

    if (!is_length(tiles) || !is_length(tiles * q) || !is_length(tiles * kv)) {
        return;
    }
    plan->tile_q_indices = scene_ints(scene, tiles);
    plan->tile_block_table_offsets = scene_ints(scene, tiles);
    plan->tile_q_seq_ids = scene_ints(scene, tiles * q);
    plan->tile_kv_seq_ids = scene_ints(scene, tiles * kv);
    plan->tile_kv_skip_indices = scene_ints(scene, plan->skips);
    plan->tile_block_tables =
        input->active_table != NULL ? scene_ints(scene, tiles * (kv / input->block_size)) : NULL;
    if (is_length(tiles * q * kv / 16)) {
        plan->tile_masks = scene_memory(scene, (size_t)(tiles * q * kv));
    }
    plan->key_order = scene_ints(scene, kv);
    expect_status(gqa_neuron_schedule_fill(input, plan, NULL));
}

static void schedule(struct scene *scene)
{
    const int32_t requests = number(scene, 5);
    gqa_neuron_schedule_input input = {.requests = requests};
    gqa_neuron_schedule plan;

    if (!is_length(requests)) {
        return;
    }
    memset(&plan, 0, sizeof plan);
    input.query_lens = draw_list(scene, requests, 40);
    input.context_lens = draw_list(scene, requests, 90);
    for (int32_t i = 0; i < requests && !scene->hostile; i++) {
        ((int32_t *)(uintptr_t)input.query_lens)[i] += 2;
        ((int32_t *)(uintptr_t)input.context_lens)[i] += 2;
    }
    input.block_size = number(scene, 9);
    input.q_tile = number(scene, 40);
    input.kv_tile = product(input.block_size, number(scene, 5));
    input.row_order = number(scene, 2);
    input.padded_tiles = product(number(scene, 2), number(scene, 20));
    input.partitions = product(number(scene, 2), number(scene, 20));
    input.active_blocks = take_below(&scene->in, 60);
    input.active_table =
        take_rarely(&scene->in, 2) ? draw_list(scene, input.active_blocks, 30) : NULL;
    input.skip_value = number(scene, 100);
    if (gqa_neuron_schedule_size(&input, &plan, NULL) == GQA_OK) {
        fill_schedule(scene, &input, &plan);
    }
}

void fuzz_neuron_map(struct scene *scene)
{
    static void (*const maps[])(struct scene *) = {
        strategy,         route,  heads,    mesh,    ranks, stride, window, chunk, decoding,
        range_and_medusa, blocks, diagonal, schedule};

    TAKE_OF(&scene->in, maps)(scene);
}
