/* SPDX-License-Identifier: Apache-2.0 */
/* mathd.h - the library's own double routines for rope tables and query temperature.
 *
 * Results do not depend on the C library. log, exp and pow: relative error at most 1.2e-16 (half a
 * unit in the last place is up to 1.11e-16), so a rope frequency is the correctly rounded one but
 * for ties. sin and cos: absolute error at most 1e-16. Tested against MPFR. Kernel sets compile sin
 * and cos for their own instruction set (mathd_inline.h): the same bits.
 */
#ifndef GQA__MATHD_H
#define GQA__MATHD_H

double gqa__log(double x);           /* x > 0; 0: -inf; below or NaN: NaN */
double gqa__exp(double x);           /* |x| <= 700 */
double gqa__pow(double x, double y); /* x > 0, through log and exp in extended precision */
double gqa__log1p_int(double n);     /* ln(1 + n), n >= 0 an integer below 2^53 */

/* Angles up to 2^42 (so 2^31 positions times a frequency of 1e3), reduced by pi/2 in two parts.
 * Larger or non-finite: NaN. */
void gqa__sincos(double x, double *sin_x, double *cos_x);

#endif
