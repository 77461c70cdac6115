/* SPDX-License-Identifier: Apache-2.0 */
/* public_functions.h - the functions that the public headers declare. */
#ifndef TEST_PUBLIC_FUNCTIONS_H
#define TEST_PUBLIC_FUNCTIONS_H

/* Their names, read from every header that gqa.h in folder includes. Returns how many, at most max.
 */
int public_functions(const char *folder, char (*names)[64], int max);

#endif
