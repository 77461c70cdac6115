/* check.c - see check.h. */
#include "config/check.h"

#include "base/error.h"

void gqa__check_int(struct gqa__check *check, const char *field, int64_t value, int64_t low,
                    int64_t high)
{
    if (check->status == GQA_OK && (value < low || value > high)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, field, "is %lld; it must be %lld..%lld",
                                  (long long)value, (long long)low, (long long)high);
    }
}

void gqa__check_real(struct gqa__check *check, const char *field, double value, double low,
                     double high)
{
    if (check->status == GQA_OK && !(value >= low && value <= high)) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, field, "is %g; it must be %g..%g", value, low, high);
    }
}

void gqa__check_unused(struct gqa__check *check, const char *field, double value, double usual,
                       const char *why)
{
    if (check->status == GQA_OK && !(value == usual || value == 0.0)) {
        check->status = gqa__fail(check->err, GQA_ERR_ARG, field,
                                  "is %g; it has no use %s and must be %g", value, why, usual);
    }
}

void gqa__check_factors(struct gqa__check *check, const struct gqa__factors *factors)
{
    const double *const values = factors->values;

    if (check->status != GQA_OK) {
        return;
    }
    if (factors->wanted != (values != NULL)) {
        check->status =
            gqa__fail(check->err, GQA_ERR_ARG, factors->field,
                      factors->wanted ? "is NULL; %d values are required with %s"
                                      : "is not NULL; its %d values have no use without %s",
                      (int)factors->n, factors->when);
        return;
    }
    for (int32_t i = 0; factors->wanted && i < factors->n; i++) {
        if (!(values[i] >= factors->low && values[i] <= factors->high)) {
            check->status =
                gqa__fail(check->err, GQA_ERR_ARG, factors->field, "[%d] is %g; it must be %g..%g",
                          (int)i, values[i], factors->low, factors->high);
            return;
        }
    }
}

int32_t gqa__check_head_dim(const gqa_config *config)
{
    if (config->head_dim != 0 || config->num_attention_heads <= 0) {
        return config->head_dim;
    }
    return config->hidden_size / config->num_attention_heads;
}
