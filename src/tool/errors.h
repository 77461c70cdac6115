/* errors.h - the rounding errors to be expected of a case's values, from the formats and the
 * lengths of the sums. The derivation is in docs/gqa-command.md, "Tolerances". */
#ifndef GQA__TOOL_ERRORS_H
#define GQA__TOOL_ERRORS_H

#include "tool/run.h"

/* Half the distance between neighbours, relative. */
#define TOOL_UNIT_F32  0x1p-24
#define TOOL_UNIT_BF16 0x1p-9

/* How large the numbers of a case are, over valid rows and keys. */
struct tool_sizes {
    double x_norm;             /* largest Euclidean norm of a token after the input norm */
    double wq, wk, wv, wo;     /* largest norm of a row */
    double value[TOOL_VALUES]; /* largest size of an element */
    double q, k;               /* largest norm of a head; k with the past */
    double v;                  /* largest element, with the past */
    double attn;               /* largest norm of a token over all heads */
    double q_spread, k_spread; /* how far qk_norm enlarges the errors of some heads; 1 = not */
    double angle;              /* largest rope angle */
    double turn;               /* the same as an rms over the dimensions of a head */
    double heat;               /* largest query temperature */
};

void tool_sizes_measure(struct tool_sizes *sizes, const struct tool_case *c,
                        const struct tool_values *values);

/* A program whose sums are in f32. */
struct tool_program {
    double operand;    /* unit of the format that operands of products are rounded to; 0 = they are
                          taken as they are */
    double stored;     /* unit of the format that holds values between the steps */
    bool float_angles; /* pos * inv_freq in f32 */
};

/* Standard error of every value of the case in that program, absolute. */
void tool_errors(const struct tool_sizes *sizes, const struct tool_case *c,
                 const struct tool_program *program, double error[TOOL_VALUES]);

#endif
