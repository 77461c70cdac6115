/* tolerance.h - how far a value may be from what is expected: as the file says, or, where it says
 * nothing, as the formats and the lengths of the sums justify (docs/gqa-command.md, "Tolerances").
 */
#ifndef GQA__TOOL_TOLERANCE_H
#define GQA__TOOL_TOLERANCE_H

#include "tool/run.h"

/* What the tolerances of one run need. The case, the options and the values outlive it. */
struct tool_judge {
    const struct tool_case *c;
    const struct tool_run_options *options;
    double ours[TOOL_VALUES]; /* standard error of the run under test, absolute */
    double f32[TOOL_VALUES];  /* of a program in f32, float32 angles */
    double bf16[TOOL_VALUES]; /* of a program in bf16 */
};

void tool_judge_prepare(struct tool_judge *judge, const struct tool_case *c,
                        const struct tool_run_options *options, const struct tool_values *values);

/* The tolerance of value against source; NaN = not judged. */
double tool_tolerance(const struct tool_judge *judge, enum tool_source source,
                      enum tool_value value);

#endif
