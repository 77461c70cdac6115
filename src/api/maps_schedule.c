/* SPDX-License-Identifier: Apache-2.0 */
/* maps_schedule.c - the schedule of paged prefill: arguments checked, then filled in src/neuron.
 */
#include "neuron/schedule.h"

#include "base/error.h"

static gqa_status check_pointers(const gqa_neuron_schedule_input *input,
                                 const gqa_neuron_schedule *schedule, gqa_error *err)
{
    if (input == NULL || schedule == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, input == NULL ? "input" : "schedule", "is NULL");
    }
    return GQA_OK;
}

gqa_status gqa_neuron_schedule_size(const gqa_neuron_schedule_input *input,
                                    gqa_neuron_schedule *schedule, gqa_error *err)
{
    const gqa_status status = check_pointers(input, schedule, err);

    return status != GQA_OK ? status : gqa__neuron_schedule_size(input, schedule, err);
}

static gqa_status check_counts(const gqa_neuron_schedule *schedule, const gqa_neuron_schedule *need,
                               gqa_error *err)
{
    if (schedule->tiles != need->tiles) {
        return gqa__fail(err, GQA_ERR_SHAPE, "schedule.tiles", "is %d; it must be %d",
                         (int)schedule->tiles, (int)need->tiles);
    }
    if (schedule->skips != need->skips) {
        return gqa__fail(err, GQA_ERR_SHAPE, "schedule.skips", "is %d; it must be %d",
                         (int)schedule->skips, (int)need->skips);
    }
    return GQA_OK;
}

static gqa_status check_blocks(const gqa_neuron_schedule_input *input, gqa_error *err)
{
    const int64_t blocks = gqa__neuron_context_blocks(input);

    if (input->active_blocks < blocks) {
        return gqa__fail(err, GQA_ERR_ARG, "active_blocks",
                         "is %d; the contexts fill %lld blocks of %d", (int)input->active_blocks,
                         (long long)blocks, (int)input->block_size);
    }
    if (input->active_table == NULL && blocks > 0) {
        return gqa__fail(err, GQA_ERR_ARG, "active_table", "is NULL");
    }
    return GQA_OK;
}

gqa_status gqa_neuron_schedule_fill(const gqa_neuron_schedule_input *input,
                                    const gqa_neuron_schedule *schedule, gqa_error *err)
{
    gqa_neuron_schedule need = {0};
    gqa_status status = check_pointers(input, schedule, err);

    if (status == GQA_OK) {
        status = gqa__neuron_schedule_size(input, &need, err);
    }
    if (status == GQA_OK) {
        status = check_counts(schedule, &need, err);
    }
    if (status == GQA_OK && schedule->tile_block_tables != NULL) {
        status = check_blocks(input, err);
    }
    if (status == GQA_OK) {
        gqa__neuron_schedule_fill(input, schedule);
    }
    return status;
}
