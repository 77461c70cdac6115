/* mathd.h - the library's own double routines for rope tables and query temperature.
 *
 * Results do not depend on the C library. Relative (sin, cos: absolute) error below 4e-16 on the
 * stated ranges, tested against MPFR.
 */
#ifndef GQA__MATHD_H
#define GQA__MATHD_H

double gqa__log(double x);           /* x > 0 */
double gqa__exp(double x);           /* |x| <= 700 */
double gqa__pow(double x, double y); /* x > 0, through log and exp in extended precision */
double gqa__log1p_int(double n);     /* ln(1 + n), n >= 0 */

/* Angles up to 2^31 * 1e3; reduced with a three-part pi/2 in fma. Huge or non-finite: NaN. */
void gqa__sincos(double x, double *sin_x, double *cos_x);

#endif
