/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_maps_caches.c - maps of caches and schedules; see neuron_maps.h. */
#include "tool/neuron_maps.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/neuron_maps.h"
#include "tool/meta.h"

/* A number of the metadata `entry`, "key=value key=value"; a fault and 0 without it. */
static int32_t entry_number(struct tool_maps *maps, const char *entry, const char *key)
{
    const struct tool_file *const file = maps->record->c->file;
    const char *text = tool_file_text(file, entry);
    char find[48];
    long value;

    snprintf(find, sizeof find, "%s=", key);
    text = text == NULL ? NULL : strstr(text, find);
    value = text == NULL ? -1 : strtol(text + strlen(find), NULL, 10);
    if (value < 0 || value > INT32_MAX) {
        tool_fault_set(maps->fault, file->path, "metadata %.40s has no sound %.40s", entry, key);
        return 0;
    }
    return (int32_t)value;
}

/* --- windows and chunks ------------------------------------------------------------------------
 */

static bool window_fits(struct tool_maps *maps, const gqa_neuron_window *window, int32_t *slots,
                        int32_t *width)
{
    return tool_maps_did(maps, "gqa_neuron_window_size",
                         gqa_neuron_window_size(window, slots, width, &maps->err)) &&
           tool_maps_fits(maps, *slots);
}

static void fill_windows(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "window", 4);
    const int32_t *row = table.row;

    tool_maps_offset(maps, "exp.window_slots");
    for (int64_t i = 0; i < table.rows; i++, row += 4) {
        const gqa_neuron_window window = {(gqa_neuron_release)(200 + row[0]), row[1], row[2]};
        int32_t slots = 0;
        if (!window_fits(maps, &window, &slots, NULL) ||
            !tool_maps_did(maps, "gqa_neuron_window_slots",
                           gqa_neuron_window_slots(&window, row[3], maps->numbers, &maps->err))) {
            return;
        }
        tool_maps_append(maps, "exp.window_slots", maps->numbers, slots);
        tool_maps_offset(maps, "exp.window_slots");
    }
}

static void decode_windows(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "window_decode", 3);
    const int32_t *row = table.row;

    tool_maps_offset(maps, "exp.window_mask");
    for (int64_t i = 0; i < table.rows; i++, row += 3) {
        const gqa_neuron_window window = {(gqa_neuron_release)(200 + row[0]), row[1], 0};
        int32_t slot = -1;
        if (!tool_maps_fits(maps, row[1]) ||
            !tool_maps_did(
                maps, "gqa_neuron_window_decode",
                gqa_neuron_window_decode(&window, row[2], maps->bytes, &slot, &maps->err))) {
            return;
        }
        tool_maps_append_bytes(maps, "exp.window_mask", maps->bytes, row[1]);
        tool_maps_append(maps, "exp.window_write_slot", &slot, 1);
        tool_maps_offset(maps, "exp.window_mask");
    }
}

static void speculate_windows(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "spec_window", 3);
    const int32_t *row = table.row;

    tool_maps_offset(maps, "exp.spec_window_mask");
    tool_maps_offset(maps, "exp.spec_window_logical");
    for (int64_t i = 0; i < table.rows; i++, row += 3) {
        const gqa_neuron_window window = {229, row[0], row[1]};
        int32_t slots = 0, width = 0;
        if (!window_fits(maps, &window, &slots, &width) ||
            !tool_maps_fits(maps, (int64_t)width * row[1]) ||
            !tool_maps_did(maps, "gqa_neuron_window_speculate",
                           gqa_neuron_window_speculate(&window, row[2], maps->numbers, maps->bytes,
                                                       &maps->err))) {
            return;
        }
        tool_maps_append(maps, "exp.spec_window_logical", maps->numbers, slots);
        tool_maps_append_bytes(maps, "exp.spec_window_mask", maps->bytes, (int64_t)width * row[1]);
        tool_maps_offset(maps, "exp.spec_window_mask");
        tool_maps_offset(maps, "exp.spec_window_logical");
    }
}

static void fill_chunks(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "chunk", 3);
    const int32_t *row = table.row;

    for (int64_t i = 0; i < table.rows && tool_maps_fits(maps, row[0]); i++, row += 3) {
        int32_t slot = -1;
        if (!tool_maps_did(
                maps, "gqa_neuron_chunk_slots",
                gqa_neuron_chunk_slots(row[0], row[1], row[2], maps->numbers, &maps->err)) ||
            !tool_maps_did(
                maps, "gqa_neuron_chunk_decode",
                gqa_neuron_chunk_decode(row[0], row[1], maps->bytes, &slot, &maps->err))) {
            return;
        }
        tool_maps_append(maps, "exp.chunk_slots", maps->numbers, row[0]);
        tool_maps_append_bytes(maps, "exp.chunk_mask", maps->bytes, row[0]);
    }
}

static void mask_ranks(struct tool_maps *maps)
{
    const struct tool_maps_table table = tool_maps_table(maps, "flash_decoding", 5);
    const int32_t *row = table.row;

    tool_maps_offset(maps, "exp.fd_active");
    tool_maps_offset(maps, "exp.fd_prior");
    for (int64_t i = 0; i < table.rows; i++, row += 5) {
        const gqa_neuron_flash_decoding in = {row[0], row[1], row[2], row[3], row[4]};
        const int64_t pairs = (int64_t)row[1] * row[1];
        if (!tool_maps_fits(maps, pairs) || !tool_maps_fits(maps, row[4]) ||
            !tool_maps_did(maps, "gqa_neuron_flash_decoding_masks",
                           gqa_neuron_flash_decoding_masks(&in, maps->bytes, NULL, &maps->err))) {
            return;
        }
        tool_maps_append_bytes(maps, "exp.fd_active", maps->bytes, pairs);
        if (!tool_maps_did(maps, "gqa_neuron_flash_decoding_masks",
                           gqa_neuron_flash_decoding_masks(&in, NULL, maps->bytes, &maps->err))) {
            return;
        }
        tool_maps_append_bytes(maps, "exp.fd_prior", maps->bytes, row[4]);
        tool_maps_offset(maps, "exp.fd_active");
        tool_maps_offset(maps, "exp.fd_prior");
    }
}

/* --- blocks ------------------------------------------------------------------------------------
 */

/* Slots of the new tokens of each request: tensors PREFIXslot_*. */
static void place_tokens(struct tool_maps *maps, const char *prefix)
{
    char name[3][48], want[48];
    struct tool_maps_table positions, given, table;
    gqa_neuron_block_table blocks = {0};

    snprintf(name[0], sizeof name[0], "%sslot_positions", prefix);
    snprintf(name[1], sizeof name[1], "%sslot_in", prefix);
    snprintf(name[2], sizeof name[2], "%sslot_table", prefix);
    snprintf(want, sizeof want, "exp.%sslots", prefix);
    positions = tool_maps_table(maps, name[0], 1);
    given = tool_maps_table(maps, name[1], positions.rows);
    table = tool_maps_table(maps, name[2], positions.rows);
    if (table.row == NULL || !tool_maps_fits(maps, given.rows * positions.rows)) {
        return;
    }
    blocks.requests = (int32_t)positions.rows;
    blocks.width = (int32_t)table.rows;
    blocks.block_size =
        tool_meta_int(maps->record->c->file, "slot_block_size", 1, INT32_MAX, maps->fault);
    blocks.table = table.row;
    if (tool_maps_did(maps, "gqa_neuron_token_slots",
                      gqa_neuron_token_slots(&blocks, (int32_t)given.rows, positions.row, given.row,
                                             maps->numbers, &maps->err))) {
        tool_maps_append(maps, want, maps->numbers, given.rows * positions.rows);
    }
}

static void list_active_blocks(struct tool_maps *maps, int number)
{
    char name[32], lens_name[32], size_name[48], want[32];
    struct tool_maps_table lens, table;
    gqa_neuron_block_table blocks = {0};
    int32_t count = 0;

    snprintf(name, sizeof name, "active_table_%d", number);
    snprintf(lens_name, sizeof lens_name, "active_table_lens_%d", number);
    snprintf(size_name, sizeof size_name, "active_table_%d_block_size", number);
    snprintf(want, sizeof want, "exp.active_table_%d", number);
    lens = tool_maps_table(maps, lens_name, 1);
    table = tool_maps_table(maps, name, lens.rows);
    if (table.row == NULL) {
        return;
    }
    blocks.requests = (int32_t)lens.rows;
    blocks.width = (int32_t)table.rows;
    blocks.block_size = tool_meta_int(maps->record->c->file, size_name, 1, INT32_MAX, maps->fault);
    blocks.table = table.row;
    if (tool_maps_did(maps, "gqa_neuron_active_blocks",
                      gqa_neuron_active_blocks(&blocks, lens.row, maps->numbers, TOOL_MAPS_ROOM,
                                               &count, &maps->err))) {
        tool_maps_append(maps, want, maps->numbers, count);
    }
}

static void mask_diagonal(struct tool_maps *maps, int number)
{
    char name[32], want[32];
    gqa_neuron_block_diagonal in = {0};
    struct tool_maps_table lens;

    snprintf(name, sizeof name, "block_diagonal_%d", number);
    snprintf(want, sizeof want, "exp.block_diagonal_%d", number);
    lens = tool_maps_table(maps, name, 2);
    in.requests = (int32_t)lens.rows;
    in.query_lens = lens.row;
    in.key_lens = lens.row == NULL ? NULL : lens.row + lens.rows;
    in.queries = entry_number(maps, name, "queries");
    in.keys = entry_number(maps, name, "keys");
    in.is_prior = entry_number(maps, name, "prior");
    if (maps->fault->text[0] == '\0' && tool_maps_fits(maps, (int64_t)in.queries * in.keys) &&
        tool_maps_did(maps, "gqa_neuron_block_diagonal_mask",
                      gqa_neuron_block_diagonal_mask(&in, maps->bytes, &maps->err))) {
        tool_maps_append_bytes(maps, want, maps->bytes, (int64_t)in.queries * in.keys);
    }
}

void tool_maps_caches(struct tool_maps *maps)
{
    fill_windows(maps);
    decode_windows(maps);
    speculate_windows(maps);
    fill_chunks(maps);
    mask_ranks(maps);
    place_tokens(maps, "");
    place_tokens(maps, "spec_");
    for (int i = 0; i < 3; i++) {
        list_active_blocks(maps, i);
        mask_diagonal(maps, i);
    }
}

/* --- schedules ---------------------------------------------------------------------------------
 */

/* The arrays of a schedule: as many numbers each. */
struct schedule_array {
    const char *name;
    int32_t **numbers;
    int64_t count;
};

/* Masks of wide tiles are stored as bits, most significant first. */
static void append_masks(struct tool_maps *maps, const char *want, uint8_t *masks, int64_t n,
                         bool bits)
{
    for (int64_t i = 0; bits && i < n; i++) {
        const int value = masks[i];
        masks[i / 8] = (uint8_t)(i % 8 == 0 ? value << 7 : masks[i / 8] | value << (7 - i % 8));
    }
    tool_maps_append_bytes(maps, want, masks, bits ? n / 8 : n);
}

static void fill_schedule(struct tool_maps *maps, const char *set,
                          const gqa_neuron_schedule_input *in)
{
    gqa_neuron_schedule s = {0};
    char want[64];

    if (!tool_maps_did(maps, "gqa_neuron_schedule_size",
                       gqa_neuron_schedule_size(in, &s, &maps->err))) {
        return;
    }
    if (!tool_maps_fits(maps, s.tiles) || !tool_maps_fits(maps, in->q_tile) ||
        !tool_maps_fits(maps, in->kv_tile)) {
        return; /* so that the product below is a number */
    }
    const int64_t tiles = s.tiles, masks = tiles * in->q_tile * in->kv_tile;
    const struct schedule_array arrays[] = {
        {"tile_q_indices", &s.tile_q_indices, tiles},
        {"tile_block_table_offsets", &s.tile_block_table_offsets, tiles},
        {"tile_q_seq_ids", &s.tile_q_seq_ids, tiles * in->q_tile},
        {"tile_kv_seq_ids", &s.tile_kv_seq_ids, tiles * in->kv_tile},
        {"tile_kv_skip_indices", &s.tile_kv_skip_indices, s.skips},
        {"tile_block_tables", &s.tile_block_tables, tiles * in->kv_tile / in->block_size},
        {"key_order", &s.key_order, in->kv_tile}};
    const size_t n = sizeof arrays / sizeof arrays[0];
    int64_t at = 0;

    for (size_t i = 0; i < n && tool_maps_fits(maps, at + arrays[i].count); i++) {
        *arrays[i].numbers = maps->numbers + at;
        at += arrays[i].count;
    }
    s.tile_masks = maps->bytes;
    if (maps->fault->text[0] != '\0' || !tool_maps_fits(maps, masks) ||
        !tool_maps_did(maps, "gqa_neuron_schedule_fill",
                       gqa_neuron_schedule_fill(in, &s, &maps->err))) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(want, sizeof want, "exp.%s.%s", set, arrays[i].name);
        tool_maps_append(maps, want, *arrays[i].numbers, arrays[i].count);
    }
    snprintf(want, sizeof want, "exp.%s.tile_masks", set);
    append_masks(maps, want, maps->bytes, masks, in->kv_tile > 64);
}

void tool_maps_schedules(struct tool_maps *maps)
{
    const int32_t sets = tool_meta_int(maps->record->c->file, "sets", 0, 1000, maps->fault);

    for (int32_t i = 0; i < sets && maps->fault->text[0] == '\0'; i++) {
        gqa_neuron_schedule_input in = {0};
        struct tool_maps_table lens, table;
        char set[24], name[48];

        snprintf(set, sizeof set, "set_%d", i);
        snprintf(name, sizeof name, "%s.lens", set);
        lens = tool_maps_table(maps, name, 2);
        snprintf(name, sizeof name, "%s.active_table", set);
        table = tool_maps_table(maps, name, 1);
        in.requests = (int32_t)lens.rows;
        in.query_lens = lens.row;
        in.context_lens = lens.row == NULL ? NULL : lens.row + lens.rows;
        in.active_table = table.row;
        in.active_blocks = (int32_t)table.rows;
        in.q_tile = entry_number(maps, set, "q_tile");
        in.kv_tile = entry_number(maps, set, "kv_tile");
        in.block_size = entry_number(maps, set, "block_size");
        in.row_order = entry_number(maps, set, "column_order") == 0;
        in.partitions = entry_number(maps, set, "partition");
        in.padded_tiles = entry_number(maps, set, "padded");
        in.skip_value = 2937; /* as the README of the files says */
        if (maps->fault->text[0] == '\0') {
            fill_schedule(maps, set, &in);
        }
    }
}
