/* SPDX-License-Identifier: Apache-2.0 */
/* other.c - a library that claims to be ggml of some version and has nothing of it: what gqa-bench
 * says of such a one is tested with it. */
const char *ggml_version(void);

const char *ggml_version(void)
{
    return OTHER_VERSION;
}
