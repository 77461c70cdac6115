/* SPDX-License-Identifier: Apache-2.0 */
/* maps_check.c - see maps_check.h. */
#include "api/maps_check.h"

#include "base/error.h"

void gqa__maps_pointer(struct gqa__maps_check *check, const char *field, const void *pointer)
{
    if (check->status == GQA_OK && pointer == NULL) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, field, "is NULL");
    }
}

void gqa__maps_number(struct gqa__maps_check *check, const char *field, int64_t value, int64_t low,
                      int64_t high)
{
    if (check->status == GQA_OK && (value < low || value > high)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, field, "is %lld; it must be %lld..%lld",
                                  (long long)value, (long long)low, (long long)high);
    }
}

void gqa__maps_flag(struct gqa__maps_check *check, const char *field, int32_t value)
{
    gqa__maps_number(check, field, value, 0, 1);
}

void gqa__maps_release(struct gqa__maps_check *check, gqa_neuron_release release)
{
    if (check->status == GQA_OK && release != GQA_NEURON_NEWEST && release != GQA_NEURON_2_26 &&
        release != GQA_NEURON_2_27 && release != GQA_NEURON_2_29) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, "release",
                                  "is %d; it must be 0 (newest), 226, 227 or 229", (int)release);
    }
}

void gqa__maps_list(struct gqa__maps_check *check, const char *field, const int32_t *values,
                    int64_t n, int32_t low)
{
    gqa__maps_pointer(check, field, values);
    for (int64_t i = 0; i < n && check->status == GQA_OK; i++) {
        if (values[i] < low) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, field, "[%lld] is %d; it must be at least %d",
                          (long long)i, (int)values[i], (int)low);
        }
    }
}

void gqa__maps_multiple(struct gqa__maps_check *check, const char *field, int32_t value,
                        const char *name, int32_t of)
{
    if (check->status == GQA_OK && value % of != 0) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "is %d; it must be a multiple of %s %d",
                      (int)value, name, (int)of);
    }
}
