/* SPDX-License-Identifier: Apache-2.0 */
/* maps_caches.c - slots of rolling, chunked and shared caches: arguments checked, arrays filled. */
#include "api/maps_check.h"
#include "base/error.h"
#include "neuron/cache_maps.h"
#include "neuron/strategy.h"

/* Positions and slots stay below this, so that their sums fit. */
#define POSITION_MAX (1 << 29)

static void check_window(struct gqa__maps_check *check, const gqa_neuron_window *window)
{
    gqa_neuron_release release;

    gqa__maps_pointer(check, "window", window);
    if (check->status != GQA_OK) {
        return;
    }
    gqa__maps_release(check, window->release);
    release = gqa__neuron_release(window->release);
    gqa__maps_number(check, "window.window", window->window, release == GQA_NEURON_2_26 ? 1 : 2,
                     POSITION_MAX);
    gqa__maps_number(check, "window.speculation_length", window->speculation_length, 0,
                     POSITION_MAX);
    if (check->status == GQA_OK && release == GQA_NEURON_2_26 && window->speculation_length > 1) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "window.speculation_length",
                                  "is %d; release 226 has no speculation with a window, 229 does",
                                  (int)window->speculation_length);
    }
}

gqa_status gqa_neuron_window_size(const gqa_neuron_window *window, int32_t *slots, int32_t *width,
                                  gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    check_window(&check, window);
    if (check.status == GQA_OK && slots != NULL) {
        *slots = gqa__neuron_window_slots(window);
    }
    if (check.status == GQA_OK && width != NULL) {
        *width = gqa__neuron_window_width(window);
    }
    return check.status;
}

gqa_status gqa_neuron_window_slots(const gqa_neuron_window *window, int32_t last_position,
                                   int32_t *positions, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    check_window(&check, window);
    gqa__maps_number(&check, "last_position", last_position, 0, POSITION_MAX);
    gqa__maps_pointer(&check, "positions", positions);
    if (check.status == GQA_OK) {
        const int32_t slots = gqa__neuron_window_slots(window);
        for (int32_t s = 0; s < slots; s++) {
            positions[s] = gqa__neuron_rolled(slots, last_position, s);
        }
    }
    return check.status;
}

gqa_status gqa_neuron_window_decode(const gqa_neuron_window *window, int32_t position,
                                    uint8_t *mask, int32_t *write_slot, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    check_window(&check, window);
    if (check.status == GQA_OK) {
        gqa__maps_number(&check, "window.speculation_length", window->speculation_length, 0, 1);
    }
    gqa__maps_number(&check, "position", position, 0, POSITION_MAX);
    if (check.status == GQA_OK && mask != NULL) {
        for (int32_t s = 0; s < gqa__neuron_window_width(window); s++) {
            mask[s] = gqa__neuron_window_sees(window, position, s);
        }
    }
    if (check.status == GQA_OK && write_slot != NULL) {
        *write_slot = position % gqa__neuron_window_slots(window);
    }
    return check.status;
}

/* New token at `position` of a step from first on. A slot is seen if it holds a token of the
 * window before this one. */
static void fill_speculation(const gqa_neuron_window *window, int32_t first, int32_t position,
                             uint8_t *mask)
{
    const int32_t slots = gqa__neuron_window_slots(window);

    for (int32_t s = 0; s < gqa__neuron_window_width(window); s++) {
        const int32_t held = s < slots ? gqa__neuron_window_logical(window, first, s) : -1;
        mask[s] = held >= 0 && position - held < window->window;
    }
}

gqa_status gqa_neuron_window_speculate(const gqa_neuron_window *window, int32_t first,
                                       int32_t *logical, uint8_t *mask, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    check_window(&check, window);
    if (check.status == GQA_OK) {
        gqa__maps_number(&check, "window.speculation_length", window->speculation_length, 2,
                         POSITION_MAX);
    }
    gqa__maps_number(&check, "first", first, 0, POSITION_MAX);
    if (check.status == GQA_OK && logical != NULL) {
        for (int32_t s = 0; s < gqa__neuron_window_slots(window); s++) {
            logical[s] = gqa__neuron_window_logical(window, first, s);
        }
    }
    if (check.status == GQA_OK && mask != NULL) {
        const int64_t width = gqa__neuron_window_width(window);
        for (int32_t t = 0; t < window->speculation_length; t++) {
            fill_speculation(window, first, first + t, mask + t * width);
        }
    }
    return check.status;
}

gqa_status gqa_neuron_chunk_slots(int32_t chunk, int32_t last_position, int32_t bucket,
                                  int32_t *positions, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "chunk", chunk, 1, POSITION_MAX);
    gqa__maps_number(&check, "bucket", bucket, 1, POSITION_MAX);
    gqa__maps_number(&check, "last_position", last_position, 0, (int64_t)bucket - 1);
    gqa__maps_pointer(&check, "positions", positions);
    for (int32_t s = 0; s < chunk && check.status == GQA_OK; s++) {
        const int32_t position = last_position / chunk * chunk + s;
        positions[s] = position < bucket ? position : -1;
    }
    return check.status;
}

gqa_status gqa_neuron_chunk_decode(int32_t chunk, int32_t position, uint8_t *mask,
                                   int32_t *write_slot, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "chunk", chunk, 1, POSITION_MAX);
    gqa__maps_number(&check, "position", position, 0, POSITION_MAX);
    for (int32_t s = 0; s < chunk && check.status == GQA_OK && mask != NULL; s++) {
        mask[s] = s < position % chunk;
    }
    if (check.status == GQA_OK && write_slot != NULL) {
        *write_slot = position % chunk;
    }
    return check.status;
}

gqa_status gqa_neuron_flash_decoding_masks(const gqa_neuron_flash_decoding *input, uint8_t *active,
                                           uint8_t *prior, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_pointer(&check, "input", input);
    if (check.status != GQA_OK) {
        return check.status;
    }
    gqa__maps_number(&check, "first_position", input->first_position, 0, POSITION_MAX);
    gqa__maps_number(&check, "tokens", input->tokens, 1, POSITION_MAX);
    gqa__maps_number(&check, "ranks", input->ranks, 1, GQA_NEURON_RANKS_MAX);
    gqa__maps_number(&check, "rank", input->rank, 0, (int64_t)input->ranks - 1);
    if (check.status == GQA_OK) {
        gqa__maps_number(&check, "slots", input->slots, gqa__neuron_flash_decoding_prior(input),
                         POSITION_MAX);
    }
    if (check.status != GQA_OK) {
        return check.status;
    }
    for (int32_t q = 0; q < input->tokens && active != NULL; q++) {
        for (int32_t k = 0; k < input->tokens; k++) {
            active[(int64_t)q * input->tokens + k] = gqa__neuron_flash_decoding_sees(input, q, k);
        }
    }
    for (int32_t s = 0; s < input->slots && prior != NULL; s++) {
        prior[s] = s < gqa__neuron_flash_decoding_prior(input);
    }
    return GQA_OK;
}

gqa_status gqa_neuron_range_mask(int32_t begin, int32_t end, int32_t slots, uint8_t *mask,
                                 gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "slots", slots, 1, POSITION_MAX);
    gqa__maps_number(&check, "begin", begin, 0, slots);
    gqa__maps_number(&check, "end", end, 0, slots);
    gqa__maps_pointer(&check, "mask", mask);
    for (int32_t s = 0; s < slots && check.status == GQA_OK; s++) {
        mask[s] = begin <= end ? s >= begin && s < end : s >= begin || s < end;
    }
    return check.status;
}

/* No slot is given two sources. */
static void check_moves(struct gqa__maps_check *check, const int32_t *accepted,
                        const int32_t *current, int32_t tokens)
{
    for (int32_t i = 0; i < tokens && check->status == GQA_OK; i++) {
        for (int32_t j = 0; j < i && check->status == GQA_OK; j++) {
            if (current[i] == current[j] && accepted[i] != accepted[j]) {
                check->status = gqa__fail(check->err, GQA_ERR_ARG, "current",
                                          "[%d] is %d, which [%d] is too, from another slot",
                                          (int)i, (int)current[i], (int)j);
            }
        }
    }
}

static void check_slots(struct gqa__maps_check *check, const char *field, const int32_t *values,
                        int32_t tokens, int32_t slots)
{
    gqa__maps_list(check, field, values, tokens, 0);
    for (int32_t i = 0; i < tokens && check->status == GQA_OK; i++) {
        if (values[i] >= slots) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, field, "[%d] is %d; there are %d slots", (int)i,
                          (int)values[i], (int)slots);
        }
    }
}

gqa_status gqa_neuron_medusa_slots(const int32_t *accepted, const int32_t *current, int32_t tokens,
                                   int32_t *source, int32_t slots, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_number(&check, "slots", slots, 1, POSITION_MAX);
    gqa__maps_number(&check, "tokens", tokens, 0, slots);
    gqa__maps_pointer(&check, "source", source);
    if (tokens > 0) {
        check_slots(&check, "accepted", accepted, tokens, slots);
        check_slots(&check, "current", current, tokens, slots);
        check_moves(&check, accepted, current, tokens);
    }
    for (int32_t s = 0; s < slots && check.status == GQA_OK; s++) {
        source[s] = s;
    }
    for (int32_t i = 0; i < tokens && check.status == GQA_OK; i++) {
        source[current[i]] = accepted[i];
    }
    return check.status;
}
