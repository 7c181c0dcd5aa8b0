/* The bytes that the origin sends and the load generator expects: byte i of an answer is pattern[i % PATTERN]. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATTERN (4u << 20)
#define SMALL 1024 /* bytes of the answer to GET /small */

/* The pattern in a memory file, for sendfile; xorshift64 (Marsaglia 2003), so no part of it looks like another. */
static unsigned char *make_pattern(int *file) {
    *file = memfd_create("pattern", MFD_CLOEXEC);
    if (*file < 0 || ftruncate(*file, PATTERN)) { perror("memfd"); exit(1); }
    unsigned char *pattern = mmap(NULL, PATTERN, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
    if (pattern == MAP_FAILED) { perror("mmap"); exit(1); }
    uint64_t x = 88172645463325252ull;
    for (size_t i = 0; i < PATTERN; i += sizeof x) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(pattern + i, &x, sizeof x);
    }
    return pattern;
}

#endif
