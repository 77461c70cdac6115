/* tolerance.c - see tolerance.h: the tolerances of the file, else those that errors.c derives. */
#include "tool/tolerance.h"

#include <math.h>

#include "tool/errors.h"

#define CERTAIN 6.0  /* standard errors: 2 values in 10^9 of a normal distribution are beyond */
#define USEFUL  0.25 /* of the largest expected value: a tolerance above it tells nothing */

void tool_judge_prepare(struct tool_judge *judge, const struct tool_case *c,
                        const struct tool_run_options *options, const struct tool_values *values)
{
    const bool bf16 = options->numerics == GQA_NUMERICS_BF16;
    const struct tool_program own = {bf16 ? TOOL_UNIT_BF16 : 0, TOOL_UNIT_F32,
                                     options->float_angles};
    const struct tool_program f32 = {0, TOOL_UNIT_F32, true};
    const struct tool_program bf16_program = {TOOL_UNIT_BF16, TOOL_UNIT_BF16, true};
    struct tool_sizes sizes;

    judge->c = c;
    judge->options = options;
    tool_sizes_measure(&sizes, c, values);
    tool_errors(&sizes, c, &own, judge->ours);
    tool_errors(&sizes, c, &f32, judge->f32);
    tool_errors(&sizes, c, &bf16_program, judge->bf16);
}

static double largest(const struct tool_tensor *tensor)
{
    double most = 0;

    for (int64_t i = 0; i < tensor->count; i++) {
        const double value = fabs(tool_tensor_value(tensor, i));
        if (isfinite(value)) {
            most = fmax(most, value);
        }
    }
    return most;
}

/* Both sides err independently; f64 errs by the format that holds it alone. */
static double derived(const struct tool_judge *judge, enum tool_source source,
                      enum tool_value value)
{
    const struct tool_tensor *expected = judge->c->expected[source][value];
    const double most = largest(expected);
    const double stored = expected->dtype == TOOL_F32 ? TOOL_UNIT_F32 * most : 0;
    double theirs = 0, tolerance;

    if (source != TOOL_F64_ORACLE) {
        theirs = expected->dtype == TOOL_BF16 ? judge->bf16[value] : judge->f32[value];
    }
    tolerance = CERTAIN * hypot(judge->ours[value], theirs) + stored;
    return tolerance <= USEFUL * most || most == 0 ? tolerance : NAN;
}

/* Against the double oracle, numerics f32. fmax passes over a NaN, a tolerance not given. */
static double given_oracle(const struct tool_judge *judge, enum tool_value value)
{
    const struct tool_tolerances *t = &judge->c->tolerance;
    const bool angles = judge->options->float_angles;
    const double q = angles ? t->q_f32angle : t->q;
    const double k = angles ? t->k_f32angle : t->k;
    const double attn = angles ? t->attn_f32angle : t->attn;
    const double both = fmax(q, k);

    switch (value) {
    case TOOL_Q:
        return q;
    case TOOL_K:
        return k;
    case TOOL_ATTN:
        return attn;
    case TOOL_OUT:
        return angles ? t->out_f32angle : t->out;
    case TOOL_LSE:
        return isnan(attn)
                   ? NAN
                   : fmax(attn, 4e-6 * largest(judge->c->expected[TOOL_F64_ORACLE][TOOL_LSE]));
    default:
        return isnan(both) ? attn : both;
    }
}

static double given_reference(const struct tool_judge *judge, enum tool_value value)
{
    const struct tool_tolerances *t = &judge->c->tolerance;
    const double given = value == TOOL_ATTN ? t->attn_ref : value == TOOL_OUT ? t->out_ref : NAN;
    const double angle = value == TOOL_ATTN ? t->attn_f32angle : t->out_f32angle;

    return judge->options->float_angles && !isnan(given) ? fmax(given, 2 * angle) : given;
}

/* What the file says; NaN where it says nothing. */
static double given(const struct tool_judge *judge, enum tool_source source, enum tool_value value)
{
    const struct tool_tolerances *t = &judge->c->tolerance;

    if (judge->options->numerics == GQA_NUMERICS_BF16) {
        return source != TOOL_F64_ORACLE ? NAN
               : value == TOOL_ATTN      ? t->attn_bf16
               : value == TOOL_OUT       ? t->out_bf16
                                         : NAN;
    }
    return source == TOOL_F64_ORACLE ? given_oracle(judge, value) : given_reference(judge, value);
}

double tool_tolerance(const struct tool_judge *judge, enum tool_source source,
                      enum tool_value value)
{
    const double tolerance = source == TOOL_BF16_REF ? NAN : given(judge, source, value);

    return source == TOOL_BF16_REF || !isnan(tolerance) ? tolerance : derived(judge, source, value);
}
